defmodule RagClient.Transport.PortTest do
  use RagClient.ClientCase, async: true

  alias RagClient.Transport.Port.Bridge

  defp bridged(url, options \\ []) do
    {transport, options} = Keyword.pop_lazy(options, :bridge, fn -> [command: real()] end)
    client(url, [{:transport, {RagClient.Transport.Port, transport}} | options])
  end

  defp real, do: {System.fetch_env!("RAG_TEST_BRIDGE"), ["bridge"]}

  defp script(text), do: [command: {"sh", ["-c", text]}]

  defp alive?(os_pid) do
    case File.read("/proc/#{os_pid}/stat") do
      {:ok, stat} -> not (stat =~ ~r/\) Z /)
      _ -> false
    end
  end

  describe "without a bridge that works" do
    test "one that ends at once fails its calls, not the client" do
      client = bridged("http://127.0.0.1:1", bridge: script("exit 3"))
      assert {:error, %Error{kind: :transport, retryable?: true}} = RagClient.query(client, nil, "?")
      Process.sleep(500)
      assert {:error, %Error{kind: :transport, message: message}} = RagClient.get_job(client, nil, "j")
      assert message =~ "the bridge is not running"
    end

    test "one that has stopped reading fails its calls" do
      client = bridged("http://127.0.0.1:1", bridge: script("exec 0<&-; sleep 60"))
      Process.sleep(200)
      assert {:error, %Error{kind: :transport, message: message}} = RagClient.get_job(client, nil, "j", timeout: 10_000)
      assert message =~ "the bridge is not running: it does not read: :epipe"
    end

    test "one that is not installed" do
      client = bridged("http://127.0.0.1:1", bridge: [command: {"no-such-program", []}])
      assert {:error, %Error{kind: :transport}} = RagClient.health(client)
    end

    test "one that sends garbage is started again, and its calls end" do
      # Four bytes of length, then five that are no JSON.
      client =
        bridged("http://127.0.0.1:1", bridge: script("head -c 4 >/dev/null; printf '\\0\\0\\0\\5hello'; sleep 60"))

      assert {:error, %Error{kind: :transport, message: message}} = RagClient.get_job(client, nil, "j")
      assert message =~ "no message"
    end

    test "a Unix socket of the service is none of its ways" do
      options = [name: :unix_bridge, url: "unix:/run/rag.sock", transport: RagClient.Transport.Port]
      Process.flag(:trap_exit, true)
      assert {:error, {%ArgumentError{message: message}, _}} = RagClient.start_link(options)
      assert message =~ "must begin with http"
    end

    test "one that is silent" do
      client = bridged("http://127.0.0.1:1", bridge: script("cat >/dev/null"), idle_timeout: 200, timeout: 200)
      assert {:error, %Error{kind: :timeout}} = RagClient.query(client, nil, "?")
      assert {:error, %Error{kind: :timeout}} = RagClient.get_job(client, nil, "j")
    end

    test "a request that is larger than a frame is refused here" do
      client = bridged("http://127.0.0.1:1", bridge: [max_frame_bytes: 1_000] ++ script("cat >/dev/null"))

      assert {:error, %Error{kind: :protocol, message: message}} =
               RagClient.query(client, nil, String.duplicate("x", 2_000))

      assert message =~ "a frame holds 1000"
    end

    test "what is no command is refused here, with the way that it goes" do
      client = bridged("http://127.0.0.1:1", bridge: script("cat >/dev/null"))

      assert {:error, %Error{kind: :protocol, message: message}} =
               RagClient.upload_documents(client, nil, [__ENV__.file])

      assert message =~ "upload_documents goes over HTTP"

      assert [{:error, %Error{message: "job_events goes over HTTP" <> _}}] =
               Enum.to_list(RagClient.job_events(client, nil, "j"))
    end
  end

  describe "rag bridge" do
    @describetag :bridge

    # What /v1/commands answers: lines.
    defp lines(messages) do
      [{:send, head(200, "application/x-ndjson")}] ++
        for(message <- messages, do: {:send, chunk(json(Map.put(message, "id", "x")) <> "\n")})
    end

    defp result(data), do: lines([%{"type" => "result", "query_id" => "x", "data" => data}]) ++ [{:send, last_chunk()}]

    test "carries a stream" do
      url =
        ScriptedServer.start(
          lines([sources(), piece("Žal"), piece("ba"), citation(), complete()]) ++ [{:send, last_chunk()}]
        )

      client = bridged(url, key: "rag_k")

      assert {:ok, %Answer{text: "Žalba", sources: [_], citations: [_]}} =
               RagClient.query(client, "acme", "?", deadline_ms: 5_000, request_id: "r1")

      assert_received {:request, %{head: head, body: body}}
      assert head =~ ~r/^authorization: Bearer rag_k\r?$/mi
      assert head =~ ~r/^x-deadline-ms: 5000\r?$/mi
      assert head =~ ~r/^x-request-id: r1\r?$/mi

      assert {:ok, %{"command" => "query", "params" => %{"tenant" => "acme", "query" => "?"}}} =
               RagClient.JSON.decode(:jiffy, body)
    end

    test "carries the trace of the process that asks" do
      client = bridged(ScriptedServer.start(result(%{})))
      parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
      :otel_propagator_text_map.put_current(parent, "shop=1,x=y")
      assert {:ok, _} = RagClient.get_job(client, nil, "j")
      assert_received {:request, %{head: head}}
      assert head =~ ~r/^traceparent: #{parent}\r?$/mi
      assert head =~ ~r/^tracestate: shop=1,x=y\r?$/mi
    end

    test "gives each message as it comes" do
      url =
        ScriptedServer.start(
          lines([sources(), piece("a")]) ++ [{:await, :on}] ++ tl(lines([complete()])) ++ [{:send, last_chunk()}]
        )

      client = bridged(url)
      {:ok, ref} = RagClient.query_async(client, nil, "?")
      assert_receive {:at, server}, 10_000
      assert_receive {:rag_client, ^ref, {:chunk, %{"content" => "a"}}}
      refute_received {:rag_client, ^ref, {:complete, _}}
      send(server, :on)
      assert_receive {:rag_client, ^ref, {:complete, _}}
    end

    test "carries a refusal with all that the service said" do
      problem = %{
        "title" => "Busy",
        "detail" => "try later",
        "code" => "overloaded",
        "retryable" => true,
        "request_id" => "r9"
      }

      client =
        bridged(
          ScriptedServer.start([{:send, whole(503, "application/problem+json", json(problem), [{"retry-after", "2"}])}])
        )

      assert {:error,
              %Error{kind: :http, status: 503, code: "overloaded", retry_after: 2, request_id: "r9", retryable?: true}} =
               RagClient.get_job(client, nil, "j")
    end

    test "a service that is not there, and one that breaks off" do
      client = bridged("http://127.0.0.1:1")

      assert {:error, %Error{kind: :transport, code: "unreachable", retryable?: true}} =
               RagClient.query(client, nil, "?")

      client = bridged(ScriptedServer.start(lines([sources(), piece("a")]) ++ [:close]))

      assert {:error, %Error{kind: :transport, code: "connection_lost", retryable?: true}} =
               RagClient.query(client, nil, "?")
    end

    test "five megabytes each way" do
      text = String.duplicate("članak 12. ", 450_000)
      assert byte_size(text) > 5_000_000

      url =
        ScriptedServer.start(fn %{body: body} ->
          {:ok, %{"params" => %{"documents" => [%{"text" => text}]}}} = RagClient.JSON.decode(:jiffy, body)
          result(%{"text" => text})
        end)

      client = bridged(url)
      assert {:ok, %{"text" => ^text}} = RagClient.process_documents(client, nil, [%{"text" => text}], timeout: 300_000)
    end

    test "many at once, each with its own words" do
      url =
        ScriptedServer.start(fn %{body: body} ->
          {:ok, %{"params" => %{"query" => text}}} = RagClient.JSON.decode(:jiffy, body)
          lines([sources()] ++ for(n <- 1..10, do: piece("#{text}-#{n} ")) ++ [complete()]) ++ [{:send, last_chunk()}]
        end)

      client = bridged(url)

      1..100
      |> Task.async_stream(&{&1, RagClient.query(client, nil, "q#{&1}")}, max_concurrency: 100, timeout: 20_000)
      |> Enum.each(fn {:ok, {number, {:ok, answer}}} ->
        assert answer.text == for(n <- 1..10, into: "", do: "q#{number}-#{n} ")
      end)
    end

    test "cancel, and the owner's end, close the connection to the service" do
      client = bridged(ScriptedServer.start(lines([sources()]) ++ [:until_closed]))
      {:ok, ref} = RagClient.query_async(client, nil, "?")
      assert_receive {:rag_client, ^ref, {:sources, _}}, 10_000
      RagClient.cancel(ref)
      assert_receive :client_closed
      test = self()
      owner = spawn(fn -> client |> RagClient.stream(nil, "?") |> Enum.each(&send(test, &1)) end)
      assert_receive {:sources, _}
      Process.exit(owner, :kill)
      assert_receive :client_closed
    end

    test "killed, its calls end, it is started again, and the next call is answered" do
      url =
        ScriptedServer.start(fn %{body: body} ->
          if body =~ "get_job", do: result(%{}), else: lines([sources()]) ++ [:until_closed]
        end)

      client = bridged(url)
      {:ok, ref} = RagClient.query_async(client, nil, "?")
      assert_receive {:rag_client, ^ref, {:sources, _}}, 10_000
      first = Bridge.os_pid(client)
      System.cmd("kill", ["-9", "#{first}"])
      assert_receive {:rag_client, ^ref, {:error, %Error{kind: :transport, retryable?: true}}}
      assert_receive :client_closed
      eventually(fn -> match?({:ok, _}, RagClient.get_job(client, nil, "j")) end, 10_000)
      assert Bridge.os_pid(client) != first
    end

    test "a client that is stopped leaves no process" do
      {:ok, supervisor} =
        RagClient.start_link(
          name: :bridged_and_stopped,
          url: "http://127.0.0.1:1",
          transport: {RagClient.Transport.Port, command: real()}
        )

      {:error, %Error{code: "unreachable"}} = RagClient.get_job(:bridged_and_stopped, nil, "j")
      os_pid = Bridge.os_pid(:bridged_and_stopped)
      assert alive?(os_pid)
      Supervisor.stop(supervisor)
      eventually(fn -> not alive?(os_pid) end)
    end

    test "kill -9 of the BEAM leaves no Python process, and the service's work ends" do
      url = ScriptedServer.start(lines([sources()]) ++ [:until_closed])

      code = """
      {:ok, _} = Application.ensure_all_started(:rag_client)
      {:ok, _} = RagClient.start_link(name: :killed, url: #{inspect(url)}, transport: {RagClient.Transport.Port, command: {#{inspect(System.fetch_env!("RAG_TEST_BRIDGE"))}, ["bridge"]}})
      {:ok, ref} = RagClient.query_async(:killed, nil, "?")
      receive do: ({:rag_client, ^ref, {:sources, _}} -> :ok)
      IO.puts("running \#{System.pid()} \#{RagClient.Transport.Port.Bridge.os_pid(:killed)}")
      Process.sleep(:infinity)
      """

      beam =
        Port.open({:spawn_executable, System.find_executable("elixir")}, [
          :binary,
          :exit_status,
          :stderr_to_stdout,
          args: ["-pa", "#{:code.lib_dir(:rag_client)}/ebin", "-e", code]
        ])

      assert [beam_pid, bridge_pid] = said(beam, "")
      assert alive?(beam_pid) and alive?(bridge_pid)
      System.cmd("kill", ["-9", beam_pid])
      assert_receive :client_closed, 5_000
      eventually(fn -> not alive?(bridge_pid) end)
      assert_receive {^beam, {:exit_status, _}}, 5_000
    end

    defp said(beam, text) do
      case Regex.run(~r/running (\d+) (\d+)\n/, text) do
        [_ | pids] ->
          pids

        nil ->
          receive do
            {^beam, {:data, more}} -> said(beam, text <> more)
            {^beam, {:exit_status, status}} -> flunk("the BEAM ended with #{status}: #{text}")
          after
            20_000 -> flunk("the BEAM said nothing: #{text}")
          end
      end
    end
  end
end
