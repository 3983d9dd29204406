defmodule RagClient do
  @moduledoc """
  A client of the RAG inference service.

      children = [
        {RagClient, name: MyApp.Rag, url: "http://rag:8000", key: System.fetch_env!("RAG_API_KEY")}
      ]

      {:ok, answer} = RagClient.query(MyApp.Rag, "acme", "Koji je rok za žalbu?", user: "u1")
      answer.text

  Every call names the client, and those that act within a tenant the tenant: a platform key speaks for the one named; a
  tenant's own key takes `nil`. `RagClient.Config` lists what a client can be told.

  ## Ways to ask

    * `query/4` waits for the whole answer.
    * `stream/4` is an enumerable of events. The service is read only as fast as the enumerable is.
    * `query_async/4` returns at once; the calling process is sent `{:rag_client, ref, event}`. This is for processes
      that do other things meanwhile, such as a LiveView.

  An event is `{:sources, map}`, `{:chunk, map}`, `{:citation, map}`, and last `{:complete, map}` or
  `{:error, %RagClient.Error{}}`; the maps are the service's own JSON objects.

  The process that asked is watched. When it ends, its call ends, the connection is closed, and the service stops
  working on it, down to the engine.

  ## Options of a question

  `:language`, `:user`, `:collections`, `:filter`, `:top_k`, `:max_tokens`, `:temperature`, `:seed` and `:history` are
  the service's own. `:history` is the conversation so far, the oldest turn first: maps with `role`, which is `"user"`
  or `"assistant"`, and `content`. Searches have none. Every call also takes `:deadline_ms`, `:request_id` and `:timeout`
  (ms until this client gives up; a stream has none unless it is given, only `idle_timeout`), and what creates something
  takes `:idempotency_key`.
  """

  use Supervisor

  alias RagClient.{Answer, Call, Config, Error, Exchange}

  @type client :: atom
  @type tenant :: String.t() | nil
  @type result :: {:ok, map} | {:error, Error.t()}

  @asking [:language, :user, :collections, :filter, :top_k, :max_tokens, :temperature, :seed, :history]
  @finding [:language, :user, :collections, :filter, :top_k]
  @sending [:deadline_ms, :request_id, :timeout]
  @creating [:idempotency_key | @sending]

  # -- the client as a child of a supervisor

  @doc "Start a client. The options are `RagClient.Config`'s."
  @spec start_link(keyword) :: Supervisor.on_start()
  def start_link(options) do
    config = Config.new(options)

    Supervisor.start_link(__MODULE__, config,
      name: {:via, Registry, {RagClient.Registry, {:client, config.name}, config}}
    )
  end

  @doc false
  def child_spec(options) do
    %{id: {__MODULE__, options[:name]}, start: {__MODULE__, :start_link, [options]}, type: :supervisor}
  end

  @impl true
  def init(config) do
    # Calls end before the transport that they may need to take leave.
    calls = {DynamicSupervisor, name: Exchange.supervisor(config.name), strategy: :one_for_one}
    Supervisor.init(config.transport.children(config) ++ [calls], strategy: :rest_for_one)
  end

  # -- asking

  @doc "Ask, and wait for the whole answer."
  @spec query(client, tenant, String.t(), keyword) :: {:ok, Answer.t()} | {:error, Error.t()}
  def query(client, tenant, text, options \\ []) do
    Enum.reduce_while(stream(client, tenant, text, options), {:error, nil}, fn
      {:error, error}, _ -> {:halt, {:error, error}}
      event, {_, answer} -> {:cont, {:ok, Answer.add(answer || %Answer{}, event)}}
    end)
  end

  @doc """
  Ask, and get the answer's events as a stream, the last of which is `{:complete, map}` or `{:error, error}`.

  The question is sent when the stream is first read, by the process that reads it. Leaving it early stops the answer.
  """
  @spec stream(client, tenant, String.t(), keyword) :: Enumerable.t()
  def stream(client, tenant, text, options \\ []) do
    call = question(tenant, text, options)
    Stream.resource(fn -> begin(client, call, options) end, &next/1, &leave/1)
  end

  @doc """
  Ask, and have the events sent to the calling process as `{:rag_client, ref, event}`.

    * `:batch_ms` puts together the chunks that come within so many milliseconds, for a process that does much for each,
      as a LiveView does. The first one is never delayed.
    * `:owner` names another process to send the events to, which is then the one that is watched.
    * `:to_message` is a function of the reference and an event that gives the message to send instead, or nil for none.
  """
  @spec query_async(client, tenant, String.t(), keyword) :: {:ok, reference} | {:error, Error.t()}
  def query_async(client, tenant, text, options \\ []) do
    {how, options} = Keyword.split(options, [:owner, :to_message, :batch_ms])
    call = question(tenant, text, options)

    if how[:batch_ms] != nil and how[:batch_ms] not in 1..10_000,
      do: raise(ArgumentError, "batch_ms must be 1 to 10,000")

    how = how |> Keyword.put(:mode, :push) |> Keyword.put(:timeout, options[:timeout] || :infinity)

    with {:ok, ref, _pid} <- Exchange.start(config(client), call, how[:owner] || self(), how), do: {:ok, ref}
  end

  @doc """
  Stop an answer that `query_async/4` began; it may have ended already.

  To the process that gets its events: when this returns, none is in its mailbox, and none will come. If another process
  cancels, the last event is an error of the kind `:cancelled`.
  """
  @spec cancel(reference) :: :ok
  def cancel(ref) when is_reference(ref) do
    Exchange.cancel(ref)
    flush(ref)
  end

  @doc "Find passages without generating: best first, with each stage's score."
  @spec search(client, tenant, String.t(), keyword) :: result
  def search(client, tenant, text, options \\ []) do
    {params, options} = params(options, @finding, @sending)
    run(client, "search", Map.put(params, "query", text), [{:tenant, tenant} | options])
  end

  # -- documents and jobs

  @doc """
  Hand in documents as text: maps with `text` and, as wanted, `id`, `title`, `collection`, `language`, `user`, `metadata`.

  All are accepted, or none. The service has them on disk when this returns, and the result names the job to follow
  (`job/3`). With `async: false` it is the finished job, so give a `:timeout` that suits.
  """
  @spec process_documents(client, tenant, [map], keyword) :: result
  def process_documents(client, tenant, documents, options \\ []) do
    {params, options} = params(options, [:async], @creating)
    run(client, "process_documents", Map.put(params, "documents", documents), [{:tenant, tenant} | options])
  end

  @doc "Remove a document and all that was made of it."
  @spec delete_document(client, tenant, String.t(), keyword) :: result
  def delete_document(client, tenant, id, options \\ []) do
    {%{}, options} = params(options, [], @sending)
    run(client, "delete_document", %{"document_id" => id}, [{:tenant, tenant} | options])
  end

  @doc "A job's state, counts, and each document's error. A platform key also gives `tenant: id`."
  @spec job(client, String.t(), keyword) :: result
  def job(client, id, options \\ []) do
    {%{}, options} = params(options, [], [:tenant | @sending])
    run(client, "get_job", %{"job_id" => id}, options)
  end

  @doc """
  Have a job's failed documents worked on again, in a new job: its id, and `"left_out"`.

  A platform key also gives `tenant: id`.
  """
  @spec retry_job(client, String.t(), keyword) :: result
  def retry_job(client, id, options \\ []) do
    {%{}, options} = params(options, [], [:tenant | @creating])
    run(client, "retry_job", %{"job_id" => id}, options)
  end

  # -- tenants and collections

  @doc "Make a tenant: its id, or a map with `tenant` and, as wanted, `name` and `settings`. Needs a platform key."
  @spec create_tenant(client, String.t() | map, keyword) :: result
  def create_tenant(client, tenant, options \\ []) do
    {%{}, options} = params(options, [], @creating)
    run(client, "create_tenant", if(is_binary(tenant), do: %{"tenant" => tenant}, else: Map.new(tenant)), options)
  end

  @doc "Make an empty collection. Options: `:description`."
  @spec create_collection(client, tenant, String.t(), keyword) :: result
  def create_collection(client, tenant, name, options \\ []),
    do: collections(client, tenant, "create", %{"name" => name}, options, [:description], @creating)

  @doc "A page of the tenant's collections: `{:ok, %{\"collections\" => […], \"next\" => …}}`. Options: `:after`, `:limit`."
  @spec list_collections(client, tenant, keyword) :: result
  def list_collections(client, tenant, options \\ []),
    do: collections(client, tenant, "list", %{}, options, [:after, :limit])

  @doc "A collection, and how many documents and passages it holds."
  @spec get_collection(client, tenant, String.t(), keyword) :: result
  def get_collection(client, tenant, name, options \\ []),
    do: collections(client, tenant, "get", %{"name" => name}, options, [])

  @doc "Change a collection's description."
  @spec update_collection(client, tenant, String.t(), String.t(), keyword) :: result
  def update_collection(client, tenant, name, description, options \\ []),
    do: collections(client, tenant, "update", %{"name" => name, "description" => description}, options, [])

  @doc "Remove a collection with all its documents."
  @spec delete_collection(client, tenant, String.t(), keyword) :: result
  def delete_collection(client, tenant, name, options \\ []),
    do: collections(client, tenant, "delete", %{"name" => name}, options, [])

  # -- everything else

  @doc "Whether the service is ready (`\"ready\"`), and each stage's state. A service that is not ready is no error."
  @spec health(client, keyword) :: result
  def health(client, options \\ []) do
    {%{}, options} = params(options, [], @sending)
    run(client, "health", %{}, options)
  end

  @doc "Any command of the service by its name, for those that have no function here."
  @spec command(client, String.t(), map, keyword) :: result
  def command(client, command, params, options \\ []) do
    {%{}, options} = params(options, [], [:tenant | @creating])
    run(client, command, Map.new(params), options)
  end

  # -- how

  defp collections(client, tenant, action, fixed, options, own, sending \\ @sending) do
    {params, options} = params(options, own, sending)

    run(client, "manage_collections", params |> Map.merge(fixed) |> Map.put("action", action), [
      {:tenant, tenant} | options
    ])
  end

  defp question(tenant, text, options) do
    {params, options} = params(options, @asking, @sending)
    params = params |> Map.put("query", text) |> Map.put("stream", true)
    Call.new("query", params, [{:tenant, tenant}, {:streams?, true} | options])
  end

  defp run(client, command, params, options) do
    config = config(client)
    started = begin(client, Call.new(command, params, options), Keyword.put_new(options, :timeout, config.timeout))

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

  defp config(client) do
    case Registry.lookup(RagClient.Registry, {:client, client}) do
      [{_, config}] -> config
      [] -> raise ArgumentError, "no RagClient is running under the name #{inspect(client)}"
    end
  end

  # The service's own params, as they go on the wire; the rest is the client's. An option nobody knows is a mistake.
  defp params(options, own, sending) do
    {params, rest} = Keyword.split(options, own)

    for {option, _} <- rest, option not in sending do
      raise ArgumentError,
            "unknown option #{inspect(option)}; there is #{Enum.map_join(own ++ sending, ", ", &inspect/1)}"
    end

    {for({name, value} <- params, value != nil, into: %{}, do: {Atom.to_string(name), value}), rest}
  end
end
