defmodule RagClient.ScriptedServer do
  @moduledoc """
  An HTTP server that does what a test tells it, badly if need be.

  Each connection's request is sent to the test as `{:request, request}` (`%{head: text, body: text}`), then the steps
  run: `{:send, bytes}`, `{:bytewise, bytes}` (a packet a byte), `{:sleep, ms}`, `{:await, message}` (until the
  connection's process, named by `{:at, pid}`, is sent it), `:close`, `:reset`, and `:until_closed`, which reports
  `:client_closed` to the test. After the last step the connection is closed.
  """

  use Task

  @type step :: term

  # How long a request may take to arrive. On a busy machine, a hundred at once take longer than five seconds.
  @request_ms 60_000

  @doc "Listen on loopback. `steps` is a list, or a function of the request. Options: `:tls`, `:unix`."
  def start(steps, options \\ []) do
    {:ok, listener, url} = listen(options)
    test = self()
    pid = ExUnit.Callbacks.start_supervised!({Task, fn -> accept(listener, options, steps, test) end}, id: make_ref())
    hand_over(options, listener, pid)
    send(pid, :go)
    url
  end

  @doc "The head of a response whose body is chunked."
  def head(status \\ 200, type \\ "text/event-stream", further \\ []) do
    lines =
      for {name, value} <- [{"content-type", type}, {"transfer-encoding", "chunked"} | further],
          do: "#{name}: #{value}\r\n"

    "HTTP/1.1 #{status} X\r\n#{lines}\r\n"
  end

  def chunk(bytes), do: "#{Integer.to_string(byte_size(bytes), 16)}\r\n#{bytes}\r\n"

  def last_chunk, do: "0\r\n\r\n"

  @doc "A whole response with a Content-Length."
  def whole(status, type, body, further \\ []) do
    lines = for {name, value} <- further, do: "#{name}: #{value}\r\n"
    "HTTP/1.1 #{status} X\r\ncontent-type: #{type}\r\ncontent-length: #{byte_size(body)}\r\n#{lines}\r\n#{body}"
  end

  @doc "A message as an event of the stream."
  def event(message, id \\ 1), do: "id: #{id}\nevent: #{message["type"]}\ndata: #{json(message)}\n\n"

  def json(term) do
    {:ok, text} = RagClient.JSON.encode(codec(), term)
    text
  end

  # To look for the ones that are not there takes longer than to encode a message.
  defp codec do
    with nil <- :persistent_term.get(__MODULE__, nil),
         do: tap(RagClient.JSON.codec(nil), &:persistent_term.put(__MODULE__, &1))
  end

  @q "3f2a9c4e5b6d7f8091a2b3c4d5e6f708"
  def sources, do: %{"type" => "sources", "query_id" => @q, "sources" => [%{"id" => "p1", "title" => "Zakon"}]}
  def piece(text), do: %{"type" => "chunk", "query_id" => @q, "content" => text}

  def citation do
    %{
      "type" => "citation",
      "query_id" => @q,
      "sources" => ["p1"],
      "start" => 0,
      "end" => 4,
      "status" => "supported"
    }
  end

  def complete do
    %{
      "type" => "complete",
      "query_id" => @q,
      "usage" => %{"prompt_tokens" => 8, "completion_tokens" => 2},
      "timings" => %{"total" => 1.5},
      "degraded" => [],
      "finish_reason" => "stop",
      "engine" => "fake",
      "model" => nil,
      "grounding" => %{"supported" => 1, "unsupported" => 0, "uncited" => 0, "unchecked" => 0, "share" => 1.0}
    }
  end

  @doc "A whole well-behaved answer, as steps."
  def answer(pieces \\ ["Žal", "ba"]) do
    messages = [sources()] ++ Enum.map(pieces, &piece/1) ++ [citation(), complete()]
    [{:send, head()}] ++ for(message <- messages, do: {:send, chunk(event(message))}) ++ [{:send, last_chunk()}]
  end

  # -- how

  defp listen(options) do
    base = [:binary, active: false, packet: :raw, reuseaddr: true, backlog: 128]
    tcp = [{:ip, {127, 0, 0, 1}}, {:nodelay, true} | base]

    cond do
      path = options[:unix] ->
        {:ok, listener} = :gen_tcp.listen(0, [{:ifaddr, {:local, path}} | base])
        {:ok, listener, "unix:" <> path}

      tls = options[:tls] ->
        {:ok, listener} = :ssl.listen(0, tcp ++ tls)
        {:ok, {_, port}} = :ssl.sockname(listener)
        {:ok, listener, "https://localhost:#{port}"}

      true ->
        {:ok, listener} = :gen_tcp.listen(0, tcp)
        {:ok, port} = :inet.port(listener)
        {:ok, listener, "http://127.0.0.1:#{port}"}
    end
  end

  defp hand_over(options, listener, pid), do: unless(options[:tls], do: :gen_tcp.controlling_process(listener, pid))

  defp accept(listener, options, steps, test) do
    receive do
      :go -> loop(listener, options, steps, test)
    end
  end

  defp loop(listener, options, steps, test) do
    {:ok, socket} = if options[:tls], do: :ssl.transport_accept(listener), else: :gen_tcp.accept(listener)
    pid = spawn_link(fn -> serve(options, steps, test) end)
    module = if options[:tls], do: :ssl, else: :gen_tcp
    :ok = module.controlling_process(socket, pid)
    send(pid, {:socket, module, socket})
    loop(listener, options, steps, test)
  end

  defp serve(_options, steps, test) do
    receive do
      {:socket, :ssl, socket} ->
        case :ssl.handshake(socket, 5_000) do
          {:ok, socket} -> serve_request(:ssl, socket, steps, test)
          {:error, reason} -> send(test, {:handshake_failed, reason})
        end

      {:socket, module, socket} ->
        serve_request(module, socket, steps, test)
    end
  end

  defp serve_request(module, socket, steps, test) do
    case read_request(module, socket, "") do
      {:ok, request} ->
        send(test, {:request, request})
        send(test, {:at, self()})
        steps = if is_function(steps), do: steps.(request), else: steps
        Enum.each(steps, &step(&1, module, socket, test))
        module.close(socket)

      :closed ->
        send(test, :client_closed)
    end
  end

  defp read_request(module, socket, read) do
    with [head, body] <- String.split(read, "\r\n\r\n", parts: 2),
         true <- byte_size(body) >= content_length(head) do
      {:ok, %{head: head, body: body}}
    else
      _ ->
        case module.recv(socket, 0, @request_ms) do
          {:ok, bytes} -> read_request(module, socket, read <> bytes)
          {:error, _} -> :closed
        end
    end
  end

  defp content_length(head) do
    case Regex.run(~r/^content-length: (\d+)/mi, head) do
      [_, length] -> String.to_integer(length)
      nil -> 0
    end
  end

  defp step({:send, bytes}, module, socket, _test), do: module.send(socket, bytes)

  defp step({:bytewise, bytes}, :gen_tcp, socket, _test) do
    for <<byte <- bytes>>, do: :gen_tcp.send(socket, <<byte>>)
  end

  defp step({:sleep, ms}, _module, _socket, _test), do: Process.sleep(ms)

  defp step({:await, message}, _module, _socket, _test) do
    receive do
      ^message -> :ok
    end
  end

  defp step(:close, module, socket, _test), do: module.close(socket)

  defp step(:reset, :gen_tcp, socket, _test) do
    :inet.setopts(socket, linger: {true, 0})
    :gen_tcp.close(socket)
  end

  defp step(:until_closed, module, socket, test) do
    case module.recv(socket, 0) do
      {:ok, _} -> step(:until_closed, module, socket, test)
      {:error, _} -> send(test, :client_closed)
    end
  end
end
