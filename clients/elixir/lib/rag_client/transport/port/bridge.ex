defmodule RagClient.Transport.Port.Bridge do
  @moduledoc false
  # Owns the Port: sends calls' frames, hands what comes to the call that it is for, and starts the bridge again when it
  # has ended. Calls are watched, so that the bridge drops what nobody waits for.

  use GenServer

  require Logger

  alias RagClient.{Config, Error, JSON}

  @restart_ms 200
  @restart_at_most_ms 5_000
  @stopping_ms 5_000

  defstruct [:config, :port, :restart_ms, calls: %{}, monitors: %{}]

  def start_link(config), do: GenServer.start_link(__MODULE__, config, name: via(config.name))

  @doc "Send a call's frame; the calling process is sent `{#{inspect(__MODULE__)}, id, message | {:error, error}}`."
  @spec send_call(atom, String.t(), binary) :: {:ok, pid} | {:error, Error.t()}
  def send_call(client, id, frame) do
    GenServer.call(via(client), {:send_call, id, frame}, :infinity)
  catch
    :exit, _ -> {:error, not_running("it is not there")}
  end

  @spec close_call(pid, String.t()) :: :ok
  def close_call(bridge, id), do: GenServer.cast(bridge, {:close_call, id})

  @doc "The bridge's process on this machine, for those who watch over it."
  @spec os_pid(atom) :: pos_integer | nil
  def os_pid(client), do: GenServer.call(via(client), :os_pid)

  defp via(client), do: {:via, Registry, {RagClient.Registry, {:bridge, client}}}

  @impl true
  def init(config) do
    Process.flag(:trap_exit, true)
    {:ok, %__MODULE__{config: config, restart_ms: @restart_ms}, {:continue, :open}}
  end

  @impl true
  def handle_continue(:open, state), do: {:noreply, open(state)}

  @impl true
  def handle_call({:send_call, _id, _frame}, _from, %{port: nil} = state),
    do: {:reply, {:error, not_running("it has ended and is being started again")}, state}

  def handle_call({:send_call, id, _frame}, _from, state) when is_map_key(state.calls, id),
    do: {:reply, {:error, Error.protocol("request_id #{id} is in use by a call that has not ended")}, state}

  def handle_call({:send_call, id, frame}, {caller, _}, state) do
    write(state, frame)
    monitor = Process.monitor(caller)
    calls = Map.put(state.calls, id, {caller, monitor})
    {:reply, {:ok, self()}, %{state | calls: calls, monitors: Map.put(state.monitors, monitor, id)}}
  end

  def handle_call(:os_pid, _from, %{port: nil} = state), do: {:reply, nil, state}

  def handle_call(:os_pid, _from, state) do
    pid = with {:os_pid, pid} <- Port.info(state.port, :os_pid), do: pid
    {:reply, pid, state}
  end

  @impl true
  def handle_cast({:close_call, id}, state), do: {:noreply, drop(state, id)}

  @impl true
  def handle_info({port, {:data, frame}}, %{port: port} = state) do
    case JSON.decode(state.config.json, frame) do
      {:ok, %{"id" => id} = message} when is_map_key(state.calls, id) ->
        {caller, _} = state.calls[id]
        send(caller, {__MODULE__, id, message})
        {:noreply, if(message["type"] in ["result", "complete", "error"], do: forget(state, id), else: state)}

      {:ok, %{"id" => nil} = message} ->
        Logger.error("RagClient: the bridge could not read a frame: #{inspect(message["error"])}")
        {:noreply, state}

      # For a call that has just been dropped.
      {:ok, %{"id" => _}} ->
        {:noreply, state}

      _ ->
        Logger.error("RagClient: the bridge sent a frame that is no message; starting it again")
        {:noreply, state |> close_port() |> ended("it sent a frame that is no message")}
    end
  end

  def handle_info({port, {:exit_status, status}}, %{port: port} = state) do
    Logger.warning("RagClient: the bridge ended with status #{status}; starting it again")
    {:noreply, ended(state, "it ended with status #{status}")}
  end

  # Without an exit status: a frame was written when nobody read any more.
  def handle_info({:EXIT, port, reason}, %{port: port} = state) do
    Logger.warning("RagClient: the bridge cannot be written to (#{inspect(reason)}); starting it again")
    {:noreply, ended(state, "it does not read: #{inspect(reason)}")}
  end

  def handle_info(:open, %{port: nil} = state), do: {:noreply, open(state)}

  def handle_info({:DOWN, monitor, :process, _, _}, state) when is_map_key(state.monitors, monitor),
    do: {:noreply, drop(state, state.monitors[monitor])}

  def handle_info(_other, state), do: {:noreply, state}

  # Closing the Port ends the bridge: its input is at its end and nobody reads its output.
  @impl true
  def terminate(_reason, state), do: close_port(state)

  defp open(state) do
    {executable, arguments} = Keyword.get(state.config.transport_options, :command, {"rag", ["bridge"]})

    case System.find_executable(executable) do
      nil ->
        Logger.error("RagClient: there is no executable #{executable} to run the bridge with")
        ended(state, "there is no executable #{executable}")

      path ->
        port =
          Port.open({:spawn_executable, path}, [
            :binary,
            :exit_status,
            :use_stdio,
            :hide,
            packet: 4,
            args: arguments ++ where(state.config),
            env: environment(state.config)
          ])

        %{state | port: port}
    end
  end

  defp where(%{address: address}), do: ["--url", "#{address.scheme}://#{address.authority}#{address.path}"]

  defp environment(config) do
    further = Keyword.get(config.transport_options, :env, %{})
    key = Config.current_key(config)
    given = if key, do: Map.put_new(further, "RAG_API_KEY", key), else: further
    for {name, value} <- given, do: {String.to_charlist(name), String.to_charlist(value)}
  end

  # The calls are told, and the bridge is started again, later each time that it did not live long enough to answer.
  defp ended(state, why) do
    for {id, {caller, monitor}} <- state.calls do
      Process.demonitor(monitor, [:flush])
      send(caller, {__MODULE__, id, {:error, not_running(why)}})
    end

    Process.send_after(self(), :open, state.restart_ms)
    %{state | port: nil, calls: %{}, monitors: %{}, restart_ms: min(state.restart_ms * 2, @restart_at_most_ms)}
  end

  defp forget(state, id) do
    {{_, monitor}, calls} = Map.pop!(state.calls, id)
    Process.demonitor(monitor, [:flush])
    %{state | calls: calls, monitors: Map.delete(state.monitors, monitor), restart_ms: @restart_ms}
  end

  defp drop(state, id) when is_map_key(state.calls, id) do
    cancel = %{"id" => "cancel-" <> id, "command" => "cancel", "params" => %{"id" => id}}
    {:ok, frame} = JSON.encode(state.config.json, cancel)
    write(state, frame)
    forget(state, id)
  end

  defp drop(state, _id), do: state

  # The Port may have closed a moment ago; its exit status is then on its way.
  defp write(state, frame) do
    Port.command(state.port, frame)
  rescue
    ArgumentError -> false
  end

  defp close_port(%{port: nil} = state), do: state

  defp close_port(%{port: port} = state) do
    if Port.info(port), do: Port.close(port)
    %{state | port: nil}
  rescue
    ArgumentError -> %{state | port: nil}
  end

  defp not_running(why), do: Error.transport("the bridge is not running", why)

  @doc false
  def child_spec(config), do: %{id: __MODULE__, start: {__MODULE__, :start_link, [config]}, shutdown: @stopping_ms}
end
