defmodule RagClient.Transport.Port do
  @moduledoc """
  Calls through `rag bridge`, a Python process at the end of an Erlang Port (`packet: 4`), which forwards them over HTTP.

      {RagClient, name: MyApp.Rag, transport: {RagClient.Transport.Port, command: {"/opt/rag/bin/rag", ["bridge"]}}}

  Options: `command` (an executable and its arguments; left out, `rag bridge` from the path), `env` (a map of further
  environment variables) and `max_frame_bytes` (64 MiB). The client's `url` and `key` are handed on, the key in the
  environment, where other users of the machine do not see it.

  One Port serves all calls of the client, side by side. The bridge ends with the Port, and so with the BEAM. If it
  ends by itself, its calls end with an error of the kind `:transport`, and it is started again.

  The bridge carries commands. Uploads from disk and the events of a job go over HTTP only, and are refused here.

  What an Erlang Port sends cannot be held back, so a slow reader's events wait in its call's mailbox: at most one
  answer.
  """

  @behaviour RagClient.Transport

  alias RagClient.{Call, Error, JSON, Transport}
  alias RagClient.Transport.Port.Bridge

  @max_frame_bytes 64 * 1024 * 1024

  defstruct [:bridge, :id, :monitor]

  @impl true
  def children(%{address: %{scheme: :unix}}),
    do: raise(ArgumentError, "RagClient: the bridge speaks HTTP over TCP; :url must begin with http:// or https://")

  def children(config), do: [{Bridge, config}]

  @impl true
  def open(config, call) do
    with {:ok, frame} <- frame(config, call),
         {:ok, bridge} <- Bridge.send_call(config.name, call.request_id, frame) do
      {:ok, %__MODULE__{bridge: bridge, id: call.request_id, monitor: Process.monitor(bridge)}}
    end
  end

  @impl true
  def demand(state), do: state

  @impl true
  def handle(%{id: id} = _state, {Bridge, id, {:error, error}}), do: {:error, [], error}

  def handle(%{id: id} = state, {Bridge, id, message}) do
    case Transport.message(message) do
      {:ok, message} -> {:ok, [message], state}
      {:error, error} -> {:error, [], %{error | request_id: error.request_id || id}}
    end
  end

  def handle(%{monitor: monitor}, {:DOWN, monitor, :process, _, _}),
    do: {:error, [], Error.transport("the answer broke off", "the bridge was stopped")}

  def handle(_state, _message), do: :unknown

  @impl true
  def close(state) do
    Process.demonitor(state.monitor, [:flush])
    Bridge.close_call(state.bridge, state.id)
  end

  defp frame(_config, %Call{command: command}) when command in ["upload_documents", "job_events"],
    do: {:error, Error.protocol("#{command} goes over HTTP, not through rag bridge; use a client with transport HTTP")}

  defp frame(config, %Call{} = call) do
    params = if call.tenant, do: Map.put(call.params, "tenant", call.tenant), else: call.params
    request = %{"id" => call.request_id, "command" => call.command, "params" => params, "request_id" => call.request_id}
    request = if call.deadline_ms, do: Map.put(request, "deadline_ms", call.deadline_ms), else: request
    request = if call.idempotency_key, do: Map.put(request, "idempotency_key", call.idempotency_key), else: request
    request = if call.traceparent, do: Map.put(request, "traceparent", call.traceparent), else: request
    request = if call.tracestate, do: Map.put(request, "tracestate", call.tracestate), else: request
    most = Keyword.get(config.transport_options, :max_frame_bytes, @max_frame_bytes)

    case JSON.encode(config.json, request) do
      {:ok, frame} when byte_size(frame) <= most -> {:ok, frame}
      {:ok, frame} -> {:error, Error.protocol("the request is #{byte_size(frame)} bytes; a frame holds #{most}")}
      {:error, reason} -> {:error, Error.protocol("the request cannot be written as JSON: #{reason}")}
    end
  end
end
