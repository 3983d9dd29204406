defmodule RagClient.Calls do
  @moduledoc false
  # What RagClient's functions have in common: their options, and a call that is read by demand.

  alias RagClient.{Call, Config, Error, Exchange, Upload}

  @sending [:deadline_ms, :request_id, :traceparent, :timeout]

  @doc """
  Run a command to its result. `rules`: `:own`, the options that are the command's own params, and `:once?`, whether
  it takes an idempotency key.
  """
  @spec run(atom, String.t() | nil, String.t(), map, keyword, keyword) :: RagClient.result()
  def run(client, tenant, command, params, options, rules \\ []) do
    {own, options} = split(options, Keyword.get(rules, :own, []), Keyword.get(rules, :once?, false))
    collect(client, call(tenant, command, Map.merge(own, params), options), options)
  end

  @spec send_upload(atom, String.t() | nil, Upload.t(), keyword) :: RagClient.result()
  def send_upload(client, tenant, upload, options),
    do: collect(client, call(tenant, "upload_documents", %{}, [{:upload, upload} | options]), options)

  @spec call(String.t() | nil, String.t(), map, keyword) :: Call.t()
  def call(tenant, command, params, options), do: Call.new(command, params, [{:tenant, tenant} | options])

  @doc """
  The service's own params, as they go on the wire, and the options that are this client's. Raises ArgumentError for an
  option that nobody knows.
  """
  @spec split(keyword, [atom], boolean) :: {map, keyword}
  def split(options, own, once? \\ false) do
    {params, rest} = Keyword.split(options, own)
    sending = if once?, do: [:idempotency_key | @sending], else: @sending

    for {option, _} <- rest, option not in sending do
      raise ArgumentError,
            "unknown option #{inspect(option)}; there is #{Enum.map_join(own ++ sending, ", ", &inspect/1)}"
    end

    {for({name, value} <- params, value != nil, into: %{}, do: {Atom.to_string(name), value}), rest}
  end

  @doc "The events of a call that streams, read as they are taken."
  @spec stream(atom, Call.t(), keyword) :: Enumerable.t()
  def stream(client, call, options),
    do: Stream.resource(fn -> begin(client, call, options) end, &next/1, &leave/1)

  @doc "End a call; none of its events is in the calling process's mailbox then."
  @spec cancel(reference) :: :ok
  def cancel(ref) do
    Exchange.cancel(ref)
    flush(ref)
  end

  @doc "Raises ArgumentError if no client of that name runs."
  @spec config(atom) :: Config.t()
  def config(client) do
    case Registry.lookup(RagClient.Registry, {:client, client}) do
      [{_, config}] -> config
      [] -> raise ArgumentError, "no RagClient is running under the name #{inspect(client)}"
    end
  end

  defp collect(client, call, options) do
    started = begin(client, call, Keyword.put_new(options, :timeout, config(client).timeout))

    case next(started) do
      {[{:result, %{"data" => data}} | _], done} -> leave(done, {:ok, data})
      {[{:error, error} | _], done} -> leave(done, {:error, error})
      {[_ | _], going} -> leave(going, {:error, Error.protocol("the service answered something else than a result")})
    end
  end

  # A call that is read by demand is {ref, pid, monitor}, and :ended once its last event was given.
  defp begin(client, call, options) do
    case Exchange.start(config(client), call, self(), mode: :pull, timeout: options[:timeout] || :infinity) do
      {:ok, ref, pid} -> {ref, pid, Process.monitor(pid)}
      {:error, error} -> {:error, error}
    end
  end

  defp next(:ended), do: {:halt, :ended}
  defp next({:error, error}), do: {[{:error, error}], :ended}

  defp next({ref, pid, monitor} = going) do
    send(pid, :demand)

    receive do
      {:rag_client, ^ref, {:batch, events}} ->
        if last?(events), do: {events, ended(going)}, else: {events, going}

      {:DOWN, ^monitor, :process, _, reason} ->
        {[{:error, Error.transport("the call was ended", reason)}], :ended}
    end
  end

  defp last?(events) do
    {type, _} = List.last(events)
    type in [:complete, :result, :error]
  end

  defp ended({_ref, _pid, monitor}) do
    Process.demonitor(monitor, [:flush])
    :ended
  end

  defp leave(:ended), do: :ok
  defp leave({:error, _}), do: :ok

  defp leave({ref, _pid, _monitor} = going) do
    ended(going)
    cancel(ref)
  end

  defp leave(call, result) do
    leave(call)
    result
  end

  defp flush(ref) do
    receive do
      {:rag_client, ^ref, _} -> flush(ref)
    after
      0 -> :ok
    end
  end
end
