defmodule RagClient.Transport.HTTP do
  @moduledoc """
  HTTP/1.1 over TCP, TLS (verified) or a Unix socket; one connection a call.

  A connection of its own is what makes a cancelled call end at once, gives each stream its own back-pressure
  (`active: :once`), and never meets a kept connection that the server has just closed. Within a data centre it costs
  one round trip.

  A streamed `query` goes to `/v1/query` and comes as server-sent events, as a job's events do; `health` asks `/readyz`;
  files are a form for `/v1/documents`; everything else is a command, sent to `/v1/commands`.
  """

  @behaviour RagClient.Transport

  alias RagClient.{Config, Error, JSON, SSE, Transport, Upload}
  alias RagClient.HTTP.Response

  @version Mix.Project.config()[:version]
  @send_timeout 30_000
  @refusal_bytes 1024 * 1024

  defstruct [:config, :module, :socket, :call, :sender, response: Response.new(), reader: nil, status: nil, headers: []]

  @impl true
  def children(_config), do: []

  @impl true
  def open(config, call) do
    with {:ok, request} <- request(config, call),
         {:ok, module, socket} <- connect(config) do
      # A server that refuses early may close before it has read everything; what it said is read all the same.
      _ = module.send(socket, request)
      sender = if call.upload, do: send_files(module, socket, call.upload)
      {:ok, %__MODULE__{config: config, module: module, socket: socket, call: call, sender: sender}}
    end
  end

  # In a process of its own, so that the call can be ended, and an early refusal read, while files are on their way.
  defp send_files(module, socket, upload) do
    spawn_link(fn ->
      with {:error, {path, why}} <- Upload.send_to(upload, &module.send(socket, &1)),
           do: exit({:shutdown, "#{path} cannot be sent: #{why}"})
    end)
  end

  @impl true
  def demand(%{socket: socket} = state) do
    case set_active_once(state) do
      :ok -> state
      {:error, _} -> tap(state, fn _ -> send(self(), {:tcp_closed, socket}) end)
    end
  end

  @impl true
  def handle(%{socket: socket} = state, {tag, socket, bytes}) when tag in [:tcp, :ssl] do
    case Response.feed(state.response, bytes) do
      {:ok, parts, response} -> read(parts, %{state | response: response}, [])
      {:error, reason, parts} -> after_fault(read(parts, state, []), Error.protocol(reason))
    end
  end

  def handle(%{socket: socket} = state, {tag, socket}) when tag in [:tcp_closed, :ssl_closed] do
    case Response.closed(state.response) do
      {:ok, parts} -> read(parts, state, [])
      {:error, :closed} -> {:error, [], broken(state, :closed)}
    end
  end

  def handle(%{socket: socket} = state, {tag, socket, reason}) when tag in [:tcp_error, :ssl_error],
    do: {:error, [], broken(state, reason)}

  def handle(%{sender: sender}, {:EXIT, sender, {:shutdown, why}}), do: {:error, [], Error.protocol(why)}

  def handle(_state, _message), do: :unknown

  @impl true
  def close(%{module: module, socket: socket}) do
    _ = module.close(socket)
    :ok
  end

  # -- the request

  defp request(config, call) do
    {method, path, accept, body} = route(call)

    with {:ok, type, bytes, encoded} <- encode(config, body) do
      key = Config.current_key(config)

      headers = [
        {"host", config.address.authority},
        {"user-agent", "rag_client/#{@version}"},
        {"connection", "close"},
        {"accept", accept},
        {"x-request-id", call.request_id},
        key && {"authorization", "Bearer #{key}"},
        call.traceparent && {"traceparent", call.traceparent},
        call.tracestate && {"tracestate", call.tracestate},
        (call.streams? || call.upload) && call.tenant && {"x-tenant-id", call.tenant},
        call.deadline_ms && {"x-deadline-ms", Integer.to_string(call.deadline_ms)},
        call.idempotency_key && {"idempotency-key", call.idempotency_key},
        type && {"content-type", type},
        type && {"content-length", Integer.to_string(bytes)}
      ]

      lines = for {name, value} <- headers, do: [name, ": ", value, "\r\n"]
      {:ok, [method, " ", config.address.path, path, " HTTP/1.1\r\n", lines, "\r\n", encoded]}
    end
  end

  defp encode(_config, nil), do: {:ok, nil, 0, ""}

  defp encode(_config, %Upload{} = upload),
    do: {:ok, "multipart/form-data; boundary=#{upload.boundary}", upload.bytes, ""}

  defp encode(config, body) do
    case JSON.encode(config.json, body) do
      {:ok, text} -> {:ok, "application/json", byte_size(text), text}
      {:error, reason} -> {:error, Error.protocol("the request cannot be written as JSON: #{reason}")}
    end
  end

  defp route(%{command: "query", streams?: true} = call), do: {"POST", "/v1/query", "text/event-stream", call.params}
  defp route(%{command: "health"}), do: {"GET", "/readyz", "application/json", nil}
  defp route(%{command: "upload_documents"} = call), do: {"POST", "/v1/documents", "application/json", call.upload}

  defp route(%{command: "job_events", params: %{"job_id" => id}}),
    do: {"GET", "/v1/jobs/#{URI.encode(id, &URI.char_unreserved?/1)}/events", "text/event-stream", nil}

  defp route(call) do
    params = if call.tenant, do: Map.put(call.params, "tenant", call.tenant), else: call.params
    {"POST", "/v1/commands", "application/x-ndjson", %{"id" => "1", "command" => call.command, "params" => params}}
  end

  # -- the connection

  defp connect(%{address: address, connect_timeout: timeout} = config) do
    # Small user-space buffers: a thousand streams may be open at once.
    options = [
      :binary,
      active: false,
      packet: :raw,
      keepalive: true,
      buffer: 16 * 1024,
      send_timeout: @send_timeout,
      send_timeout_close: true
    ]

    with {:ok, socket} <- tcp(address, options, timeout),
         {:ok, module, socket} <- secure(address, socket, config) do
      {:ok, module, socket}
    else
      {:error, reason} -> {:error, Error.transport("cannot connect to #{shown(address)}", reason)}
    end
  end

  defp tcp(%{scheme: :unix, host: host}, options, timeout), do: :gen_tcp.connect(host, 0, [:local | options], timeout)

  defp tcp(%{host: host, port: port}, options, timeout) do
    options = [{:nodelay, true} | options]

    # A name is looked up as IPv4 first; an address says itself what it is.
    case :inet.parse_strict_address(host) do
      {:ok, address} when tuple_size(address) == 8 -> :gen_tcp.connect(address, port, [:inet6 | options], timeout)
      {:ok, address} -> :gen_tcp.connect(address, port, options, timeout)
      {:error, _} -> by_name(host, port, options, timeout)
    end
  end

  defp by_name(host, port, options, timeout) do
    case :gen_tcp.connect(host, port, options, timeout) do
      {:error, :nxdomain} -> :gen_tcp.connect(host, port, [:inet6 | options], timeout)
      other -> other
    end
  end

  defp secure(%{scheme: :https, host: host}, socket, config) do
    verified = [
      verify: :verify_peer,
      depth: 10,
      server_name_indication: host,
      customize_hostname_check: [match_fun: :public_key.pkix_verify_hostname_match_fun(:https)]
    ]

    options = authorities(Keyword.merge(verified, config.tls))

    case :ssl.connect(socket, options, config.connect_timeout) do
      {:ok, secured} ->
        {:ok, :ssl, secured}

      {:error, reason} ->
        :gen_tcp.close(socket)
        {:error, reason}
    end
  end

  defp secure(_address, socket, _config), do: {:ok, :gen_tcp, socket}

  defp authorities(options) do
    if options[:verify] == :verify_peer and not Enum.any?([:cacerts, :cacertfile], &Keyword.has_key?(options, &1)),
      do: [{:cacerts, :public_key.cacerts_get()} | options],
      else: options
  end

  defp set_active_once(%{module: :ssl, socket: socket}), do: :ssl.setopts(socket, active: :once)
  defp set_active_once(%{socket: socket}), do: :inet.setopts(socket, active: :once)

  # -- the answer

  defp read([], state, messages), do: {:ok, Enum.reverse(messages), state}

  defp read([{:head, status, headers} | parts], state, messages) do
    state = %{state | status: status, headers: headers}
    kind = media_type(headers)

    cond do
      status == 200 and kind == "text/event-stream" ->
        read(parts, %{state | reader: {:events, SSE.new(max_bytes: state.config.max_event_bytes)}}, [:alive | messages])

      status in [200, 202] or (status == 503 and state.call.command == "health") ->
        read(parts, %{state | reader: {:body, [], state.config.max_body_bytes}}, [:alive | messages])

      true ->
        read(parts, %{state | reader: {:refusal, [], @refusal_bytes}}, [:alive | messages])
    end
  end

  defp read([{:data, bytes} | parts], %{reader: {:events, parser}} = state, messages) do
    with {:ok, events, parser} <- SSE.feed(parser, bytes),
         {:ok, messages} <- add(events, state, messages) do
      read(parts, %{state | reader: {:events, parser}}, messages)
    else
      {:error, :too_large} ->
        {:error, Enum.reverse(messages),
         Error.protocol("a message is larger than max_event_bytes (#{state.config.max_event_bytes})")}

      {:error, messages, error} ->
        {:error, Enum.reverse(messages), error}
    end
  end

  defp read([{:data, bytes} | parts], %{reader: {kind, kept, left}} = state, messages) do
    left = left - byte_size(bytes)

    cond do
      left >= 0 -> read(parts, %{state | reader: {kind, [kept | bytes], left}}, messages)
      kind == :refusal -> {:error, Enum.reverse(messages), Error.from_response(state.status, state.headers, nil)}
      true -> {:error, Enum.reverse(messages), Error.protocol("the answer is larger than max_body_bytes")}
    end
  end

  defp read([:done | _], %{reader: {:events, _}}, messages), do: {:end, Enum.reverse(messages)}

  defp read([:done | _], %{reader: {:refusal, kept, _}} = state, messages) do
    body =
      case JSON.decode(state.config.json, IO.iodata_to_binary(kept)) do
        {:ok, body} -> body
        :error -> nil
      end

    {:error, Enum.reverse(messages), Error.from_response(state.status, state.headers, body)}
  end

  defp read([:done | _], %{reader: {:body, kept, _}} = state, messages) do
    with {:ok, body} <- JSON.decode(state.config.json, IO.iodata_to_binary(kept)),
         {:ok, message} <- result(state.call, body) do
      {:end, Enum.reverse([message | messages])}
    else
      :error ->
        {:error, Enum.reverse(messages), Error.protocol("the answer is not JSON")}

      {:error, error} ->
        {:error, Enum.reverse(messages), %{error | request_id: error.request_id || state.call.request_id}}
    end
  end

  defp result(%{command: command}, body) when is_map(body) and command in ["health", "upload_documents"],
    do: {:ok, {:result, %{"type" => "result", "data" => body}}}

  defp result(_call, body), do: Transport.message(body)

  defp add([], _state, messages), do: {:ok, messages}
  defp add([:comment | events], state, messages), do: add(events, state, [:alive | messages])

  defp add([event | events], state, messages) do
    with {:ok, decoded} <- JSON.decode(state.config.json, event.data),
         {:ok, message} <- Transport.message(decoded) do
      add(events, state, [message | messages])
    else
      :error -> {:error, messages, Error.protocol("the stream holds a message that is not JSON")}
      {:error, error} -> {:error, messages, %{error | request_id: error.request_id || state.call.request_id}}
    end
  end

  defp media_type(headers) do
    case List.keyfind(headers, "content-type", 0) do
      {_, value} -> value |> String.split(";") |> hd() |> String.trim() |> String.downcase()
      nil -> ""
    end
  end

  defp after_fault({:ok, messages, _state}, error), do: {:error, messages, error}
  defp after_fault(other, _error), do: other

  defp broken(state, reason) do
    doing = if state.status, do: "the answer broke off", else: "#{shown(state.config.address)} gave no answer"
    %{Error.transport(doing, reason) | request_id: state.call.request_id}
  end

  defp shown(%{scheme: :unix, host: {:local, path}}), do: path
  defp shown(%{scheme: scheme, authority: authority}), do: "#{scheme}://#{authority}"
end
