defmodule RagClient.Exchange do
  @moduledoc false
  # One call, one process: it owns the connection, watches the process that asked, and ends with either. Its owner
  # always gets exactly one last event, unless the owner itself cancels it.
  #
  # There are two ways to deliver events. `:push` sends each event as a message of its own (query_async), with chunks
  # put together if asked for, and stops reading while the owner has too many unread. `:pull` sends
  # `{:rag_client, ref, {:batch, events}}` once for each demand, so a slow reader holds back the service itself.

  use GenServer, restart: :temporary

  alias RagClient.{Call, Config, Error, Telemetry}

  @type event ::
          {:sources | :chunk | :citation | :progress | :complete | :result, map} | {:error, Error.t()}

  @look_again_ms 10

  defstruct [
    :config,
    :call,
    :owner,
    :ref,
    :mode,
    :to_message,
    :timeout,
    :transport_state,
    :idle_timer,
    :began,
    :held_since,
    :batch_ms,
    :held,
    :next_chunk_at,
    :query_id,
    sent: 0,
    demanded?: false,
    waiting?: false,
    chunks: 0
  ]

  @doc """
  Begin a call for `owner`. Options: `:mode`, `:timeout` (ms for the whole, or `:infinity`); for `:push` also
  `:to_message` (an event as the message to send, nil for none) and `:batch_ms`.
  """
  @spec start(Config.t(), Call.t(), pid, keyword) :: {:ok, reference, pid} | {:error, Error.t()}
  def start(config, call, owner, options) do
    ref = make_ref()

    case DynamicSupervisor.start_child(supervisor(config.name), {__MODULE__, {config, call, owner, ref, options}}) do
      {:ok, pid} -> {:ok, ref, pid}
      {:error, reason} -> {:error, Error.transport("the call cannot be started", reason)}
    end
  end

  def start_link({_config, _call, _owner, ref, _options} = given),
    do: GenServer.start_link(__MODULE__, given, name: {:via, Registry, {RagClient.Registry, ref}})

  @doc "The supervisor of a client's calls."
  def supervisor(client), do: {:via, Registry, {RagClient.Registry, {:calls, client}}}

  @doc "End a call; true if it was still going on. Its owner is told, unless the owner is who calls."
  @spec cancel(reference) :: boolean
  def cancel(ref) do
    case Registry.lookup(RagClient.Registry, ref) do
      [{pid, _}] ->
        try do
          GenServer.call(pid, :cancel, :infinity)
        catch
          :exit, _ -> false
        end

      [] ->
        false
    end
  end

  @impl true
  def init({config, call, owner, ref, options}) do
    Process.flag(:trap_exit, true)
    Process.monitor(owner)
    timeout = Keyword.get(options, :timeout, :infinity)
    if is_integer(timeout), do: Process.send_after(self(), :timeout, timeout)
    mode = Keyword.fetch!(options, :mode)

    state = %__MODULE__{
      config: config,
      call: call,
      owner: owner,
      ref: ref,
      mode: mode,
      to_message: Keyword.get(options, :to_message, &default_message/2),
      timeout: timeout,
      batch_ms: Keyword.get(options, :batch_ms),
      began: System.monotonic_time(),
      demanded?: mode == :push
    }

    emit(state, :start, %{system_time: System.system_time()}, %{})
    {:ok, state, {:continue, :open}}
  end

  @impl true
  def handle_continue(:open, state) do
    case state.config.transport.open(state.config, state.call) do
      {:ok, transport_state} -> read_on(%{state | transport_state: transport_state})
      {:error, error} -> finish(state, [{:error, error}])
    end
  end

  @impl true
  def handle_call(:cancel, {caller, _}, state) do
    events = if caller == state.owner, do: [], else: [{:error, Error.cancelled()}]
    {:stop, :normal, state} = finish(state, events, Error.cancelled())
    {:stop, :normal, true, state}
  end

  @impl true
  def handle_info(:demand, state), do: read_on(%{state | demanded?: true})

  def handle_info(:look_again, state), do: read_on(state)

  def handle_info(:push_held, state), do: {:noreply, push_held(state)}

  def handle_info({:DOWN, _, :process, owner, _}, %{owner: owner} = state),
    do: finish(state, [], Error.cancelled())

  def handle_info(:timeout, state),
    do: finish(state, [{:error, Error.timeout("no answer within #{state.timeout} ms")}])

  def handle_info({:timeout, timer, :idle}, %{idle_timer: timer} = state),
    do: finish(state, [{:error, Error.timeout("the service was silent for #{state.config.idle_timeout} ms")}])

  def handle_info({:timeout, _, :idle}, state), do: {:noreply, state}

  def handle_info(message, state) do
    case state.config.transport.handle(state.transport_state, message) do
      {:ok, messages, transport_state} ->
        %{state | transport_state: transport_state} |> quiet() |> tell(messages, nil)

      {:end, messages} ->
        state |> quiet() |> tell(messages, Error.transport("the answer broke off", "its end is missing"))

      {:error, messages, error} ->
        state |> quiet() |> tell(messages, error)

      :unknown ->
        {:noreply, state}
    end
  end

  @impl true
  def terminate(:normal, _state), do: :ok

  def terminate(:shutdown, state),
    do: finish(state, [{:error, %{Error.cancelled() | message: "the client was stopped"}}])

  def terminate(_crash, state), do: finish(state, [{:error, Error.protocol("the call failed; the log tells why")}])

  # -- telling the owner

  # `fault`: what is wrong if none of the messages is the last one; nil where more may come.
  defp tell(state, messages, fault) do
    {before, last} =
      messages |> Enum.reject(&(&1 == :alive)) |> Enum.split_while(fn {type, _} -> type not in [:complete, :result] end)

    events = before ++ Enum.take(last, 1)
    state = state |> name(events) |> count(events)

    cond do
      last != [] -> finish(state, events)
      fault -> finish(state, events ++ [{:error, fault}])
      events == [] and state.mode == :pull -> read_on(%{state | demanded?: true})
      true -> state |> deliver(events) |> read_on()
    end
  end

  defp deliver(state, []), do: state

  defp deliver(%{mode: :pull} = state, events) do
    send(state.owner, {:rag_client, state.ref, {:batch, events}})
    state
  end

  defp deliver(%{mode: :push} = state, events), do: Enum.reduce(events, state, &push/2)

  # The first chunk goes out at once; what comes sooner than `batch_ms` after one that did waits for its time, or for
  # an event of another kind.
  defp push({:chunk, chunk}, %{held: held} = state) when held != nil,
    do: %{state | held: Map.update!(held, "content", &[&1 | chunk["content"]])}

  defp push({:chunk, chunk} = event, %{batch_ms: batch_ms} = state) when batch_ms != nil do
    now = System.monotonic_time(:millisecond)
    wait = (state.next_chunk_at || now) - now

    if wait <= 0 do
      tell_owner(event, %{state | next_chunk_at: now + batch_ms})
    else
      Process.send_after(self(), :push_held, wait)
      %{state | held: chunk}
    end
  end

  defp push(event, state), do: tell_owner(event, push_held(state))

  defp push_held(%{held: nil} = state), do: state

  defp push_held(%{held: held} = state) do
    next = System.monotonic_time(:millisecond) + state.batch_ms
    chunk = Map.update!(held, "content", &IO.iodata_to_binary/1)
    tell_owner({:chunk, chunk}, %{state | held: nil, next_chunk_at: next})
  end

  defp tell_owner(event, state) do
    if message = state.to_message.(state.ref, event), do: send(state.owner, message)
    %{state | sent: state.sent + 1}
  end

  defp finish(state, events, error \\ nil) do
    if state.transport_state, do: state.config.transport.close(state.transport_state)
    error = error || Enum.find_value(events, fn {type, what} -> type == :error && what end)
    outcome = if error, do: error.kind, else: :ok
    measured = %{duration: System.monotonic_time() - state.began}
    measured = if state.call.streams?, do: Map.put(measured, :chunks, state.chunks), else: measured
    emit(state, :stop, measured, %{outcome: outcome, error: error})
    deliver(state, events)
    {:stop, :normal, %{state | transport_state: nil}}
  end

  defp default_message(ref, event), do: {:rag_client, ref, event}

  # -- reading on

  defp read_on(%{transport_state: nil} = state), do: {:noreply, state}
  defp read_on(%{waiting?: true} = state), do: {:noreply, state}
  defp read_on(%{demanded?: false} = state), do: {:noreply, state}

  defp read_on(%{mode: :push} = state) do
    now = System.monotonic_time(:millisecond)

    cond do
      not overfull?(state) ->
        {:noreply, ask(%{state | held_since: nil})}

      now - (state.held_since || now) > state.config.idle_timeout ->
        finish(state, [{:error, Error.timeout("its owner has not read for #{state.config.idle_timeout} ms")}])

      true ->
        Process.send_after(self(), :look_again, @look_again_ms)
        {:noreply, %{state | held_since: state.held_since || now}}
    end
  end

  defp read_on(%{mode: :pull} = state), do: {:noreply, ask(%{state | demanded?: false})}

  defp ask(state) do
    timer = if state.call.streams?, do: :erlang.start_timer(state.config.idle_timeout, self(), :idle)
    transport_state = state.config.transport.demand(state.transport_state)
    %{state | transport_state: transport_state, idle_timer: timer, waiting?: true}
  end

  # Only while something is waited for can it be late: a reader that takes its time is not the service's silence.
  defp quiet(state) do
    if state.idle_timer, do: :erlang.cancel_timer(state.idle_timer)
    %{state | idle_timer: nil, waiting?: false}
  end

  # How many of the unread are this call's cannot be seen. One that sent fewer cannot be at fault, and an owner that
  # reads its calls one after the other must get the one that it waits for.
  defp overfull?(%{config: %{max_mailbox: most}} = state), do: state.sent > most and unread(state.owner) > most

  defp unread(owner) when node(owner) == node() do
    case Process.info(owner, :message_queue_len) do
      {_, length} -> length
      nil -> 0
    end
  end

  defp unread(_elsewhere), do: 0

  # -- telemetry

  # The service names its query in each message of an answer. A command's result has the command's own id there.
  defp name(%{query_id: nil, call: %{command: "query"}} = state, [{_, %{"query_id" => id}} | _]),
    do: %{state | query_id: id}

  defp name(state, _events), do: state

  defp count(%{call: %{streams?: true}} = state, events) do
    chunks = Enum.count(events, &match?({:chunk, _}, &1))

    if state.chunks == 0 and chunks > 0,
      do: emit(state, :first_chunk, %{duration: System.monotonic_time() - state.began}, %{})

    %{state | chunks: state.chunks + chunks}
  end

  defp count(state, _events), do: state

  defp emit(state, event, measurements, metadata) do
    kind = if state.call.streams?, do: :stream, else: :request

    about = %{
      client: state.config.name,
      command: state.call.command,
      tenant: state.call.tenant,
      request_id: state.call.request_id,
      query_id: state.query_id,
      traceparent: state.call.traceparent
    }

    Telemetry.execute([kind, event], measurements, Map.merge(about, metadata))
  end
end
