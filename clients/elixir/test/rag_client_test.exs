defmodule RagClientTest do
  use RagClient.ClientCase, async: true

  @other_types %{"type" => "thinking", "query_id" => "q", "content" => "hm"}

  # What the service sends for an answer, on one connection.
  defp bytes(pieces), do: for({:send, bytes} <- answer(pieces), into: "", do: bytes)

  describe "query" do
    test "is the whole answer" do
      client = client(ScriptedServer.start(answer()), key: "rag_k")
      assert {:ok, answer} = RagClient.query(client, "acme", "Što je žalba?", user: "u1", top_k: 3, deadline_ms: 9_000)

      assert %Answer{text: "Žalba", sources: [%{"id" => "p1"}], finish_reason: "stop", engine: "fake", model: nil} =
               answer

      assert answer.citations == [%{"sources" => ["p1"], "start" => 0, "end" => 4, "status" => "supported"}]
      assert %{"supported" => 1, "share" => 1.0} = answer.grounding
      assert answer.usage == %{"prompt_tokens" => 8, "completion_tokens" => 2}
      assert answer.query_id == complete()["query_id"]

      assert_received {:request, %{head: head, body: body}}
      assert head =~ "POST /v1/query HTTP/1.1\r\nhost: 127.0.0.1:"
      assert head =~ "\r\nauthorization: Bearer rag_k\r\n"
      assert head =~ "\r\nx-tenant-id: acme\r\n"
      assert head =~ "\r\nx-deadline-ms: 9000\r\n"
      assert head =~ ~r/\r\nx-request-id: [0-9a-f]{32}\r\n/

      assert RagClient.JSON.decode(:jiffy, body) ==
               {:ok, %{"query" => "Što je žalba?", "user" => "u1", "top_k" => 3, "stream" => true}}

      assert eventually(fn -> calls(client) == 0 end)
    end

    test "takes an idempotency key, and its kept answer comes all at once" do
      events = Enum.map_join([sources(), piece("Rok"), complete()], &event/1)
      client = client(ScriptedServer.start([{:send, whole(200, "text/event-stream", events)}]))
      options = [idempotency_key: "oban-7"]
      assert {:ok, %Answer{text: "Rok", finish_reason: "stop"}} = RagClient.query(client, "acme", "Rok?", options)
      assert_received {:request, %{head: head}}
      assert head =~ "\r\nidempotency-key: oban-7\r\n"
    end

    test "may follow a conversation" do
      client = client(ScriptedServer.start(answer()), key: "rag_k")
      history = [%{role: "user", content: "Što je žalba?"}, %{"role" => "assistant", "content" => "Lijek."}]
      assert {:ok, %Answer{}} = RagClient.query(client, "acme", "A rok?", history: history)
      assert_received {:request, %{body: body}}

      assert {:ok, %{"query" => "A rok?", "history" => turns}} = RagClient.JSON.decode(:jiffy, body)

      assert turns == [
               %{"role" => "user", "content" => "Što je žalba?"},
               %{"role" => "assistant", "content" => "Lijek."}
             ]

      assert_raise ArgumentError, ~r/unknown option :history/, fn ->
        RagClient.search(client, "acme", "A rok?", history: history)
      end
    end

    test "a refusal is the service's own error" do
      problem = %{
        "title" => "Unknown collection",
        "detail" => "no 'x'",
        "code" => "unknown_collection",
        "retryable" => false,
        "request_id" => "r"
      }

      client = client(ScriptedServer.start([{:send, whole(404, "application/problem+json", json(problem))}]))
      assert {:error, error} = RagClient.query(client, "acme", "?", collections: ["x"])
      assert %Error{kind: :http, status: 404, code: "unknown_collection", retryable?: false, request_id: "r"} = error
      assert error.message == "Unknown collection: no 'x'"
    end

    test "a refusal before the request was read whole is still read" do
      steps = [
        {:send, whole(413, "application/problem+json", json(%{"title" => "Too large", "code" => "document_too_large"}))}
      ]

      client = client(ScriptedServer.start(steps))
      assert {:error, %Error{status: 413, code: "document_too_large"}} = RagClient.query(client, nil, "?")
    end

    test "busy tells when to come back" do
      steps = [{:send, whole(503, "text/html", "<h1>busy</h1>", [{"retry-after", "3"}])}]
      client = client(ScriptedServer.start(steps))

      assert {:error, %Error{status: 503, retry_after: 3, retryable?: true, code: nil}} =
               RagClient.query(client, nil, "?")
    end

    test "an error in the stream ends it" do
      failure = %{
        "type" => "error",
        "query_id" => "q",
        "error" => "generation is gone",
        "code" => "stage_unavailable",
        "retryable" => true
      }

      steps = [{:send, head()}, {:send, chunk(event(sources()) <> event(piece("a")) <> event(failure))}, :until_closed]
      client = client(ScriptedServer.start(steps))

      assert {:error, %Error{kind: :server, code: "stage_unavailable", retryable?: true, query_id: "q"}} =
               RagClient.query(client, nil, "?")

      assert_receive :client_closed
    end

    test "the caller's mailbox is left as it was" do
      client = client(ScriptedServer.start(answer()))
      {:ok, _} = RagClient.query(client, nil, "?")
      flush_requests()
      assert Process.info(self(), :messages) == {:messages, []}
    end
  end

  describe "a server that misbehaves" do
    test "every split of the bytes gives the same answer" do
      bytes = bytes(["Ž", "alba 🦉"])
      url = ScriptedServer.start(fn request -> cut(bytes, cut_at(request)) end)
      client = client(url)

      answers =
        0..byte_size(bytes)//7
        |> Task.async_stream(&RagClient.query(client, nil, "?", request_id: "at-#{&1}"), max_concurrency: 8)
        |> Enum.map(fn {:ok, answer} -> answer end)

      assert [{:ok, %Answer{text: "Žalba 🦉", citations: [_], finish_reason: "stop"}}] = Enum.uniq(answers)
      assert length(answers) > 100
    end

    test "byte by byte" do
      client = client(ScriptedServer.start([{:bytewise, bytes(["Ž"])}]))
      assert {:ok, %Answer{text: "Ž"}} = RagClient.query(client, nil, "?")
    end

    test "the connection ends at any point before the last message: an error, never half an answer" do
      bytes = bytes(["Ža", "lba"])
      # An event counts once its blank line is there; what follows the last one is the body's end.
      last = byte_size(bytes) - byte_size("\n\n\r\n" <> last_chunk())
      url = ScriptedServer.start(fn request -> [{:send, binary_part(bytes, 0, cut_at(request))}, :close] end)
      client = client(url)

      0..last//11
      |> Task.async_stream(&RagClient.query(client, nil, "?", request_id: "at-#{&1}"), max_concurrency: 8)
      |> Enum.each(fn {:ok, result} ->
        assert {:error, %Error{kind: :transport, retryable?: true, request_id: "at-" <> _}} = result
      end)
    end

    test "a reset in mid-chunk" do
      client =
        client(
          ScriptedServer.start([{:send, head() <> chunk(event(sources())) <> "fff\r\ndata"}, {:sleep, 50}, :reset])
        )

      assert {:error, %Error{kind: :transport, retryable?: true}} = RagClient.query(client, nil, "?")
    end

    test "a body that ends before the answer did" do
      client =
        client(ScriptedServer.start([{:send, head() <> chunk(event(sources()) <> event(piece("a"))) <> last_chunk()}]))

      assert {:error, %Error{kind: :transport, message: "the answer broke off: its end is missing"}} =
               RagClient.query(client, nil, "?")
    end

    test "silence" do
      client =
        client(ScriptedServer.start([{:send, head() <> chunk(event(sources()))}, :until_closed]), idle_timeout: 100)

      assert {:error, %Error{kind: :timeout, retryable?: true, message: message}} = RagClient.query(client, nil, "?")
      assert message =~ "silent for 100 ms"
      assert_receive :client_closed
    end

    test "silence before the head" do
      client = client(ScriptedServer.start([:until_closed]), idle_timeout: 100)
      assert {:error, %Error{kind: :timeout}} = RagClient.query(client, nil, "?")
    end

    test "heartbeats keep an idle stream" do
      beats = List.duplicate([{:sleep, 250}, {:send, chunk(": ping\n\n")}], 6) |> List.flatten()
      rest = Enum.drop(answer(), 1)
      client = client(ScriptedServer.start([{:send, head()} | beats] ++ rest), idle_timeout: 1_000)
      assert {:ok, %Answer{text: "Žalba"}} = RagClient.query(client, nil, "?")
    end

    test "heartbeats do not prolong a call that has a time" do
      beats = List.duplicate([{:sleep, 30}, {:send, chunk(": ping\n\n")}], 100) |> List.flatten()
      client = client(ScriptedServer.start([{:send, head()} | beats]))

      assert {:error, %Error{kind: :timeout, message: "no answer within 150 ms"}} =
               RagClient.query(client, nil, "?", timeout: 150)
    end

    test "garbage" do
      for {steps, message} <- [
            {[{:send, "garbage\r\n\r\n"}], "not HTTP"},
            {[{:send, head() <> "xyz\r\n"}], "chunk's size"},
            {[{:send, head() <> chunk("data: {nope\n\n")}], "not JSON"},
            {[{:send, head() <> chunk("data: []\n\n")}], "without a type"},
            {[{:send, whole(200, "text/html", "<h1>hello</h1>")}], "not JSON"},
            {[{:send, head() <> chunk(event(complete() |> Map.put("pad", String.duplicate("x", 3_000))))}],
             "max_event_bytes"}
          ] do
        client = client(ScriptedServer.start(steps), max_event_bytes: 2_000)
        assert {:error, %Error{kind: :protocol, retryable?: false} = error} = RagClient.query(client, nil, "?")
        assert error.message =~ message
      end
    end

    test "types that this client does not know are passed over" do
      steps = [{:send, head()}, {:send, chunk(event(@other_types))}] ++ Enum.drop(answer(), 1)
      client = client(ScriptedServer.start(steps))
      assert {:ok, %Answer{text: "Žalba"}} = RagClient.query(client, nil, "?")
    end

    test "nobody listens" do
      {:ok, listener} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
      {:ok, port} = :inet.port(listener)
      :gen_tcp.close(listener)
      client = client("http://127.0.0.1:#{port}")
      assert {:error, %Error{kind: :transport, retryable?: true} = error} = RagClient.query(client, nil, "?")
      assert error.message == "cannot connect to http://127.0.0.1:#{port}: connection refused"
    end

    test "a name that is none" do
      client = client("http://no-such-host.invalid")
      assert {:error, %Error{kind: :transport}} = RagClient.query(client, nil, "?")
    end
  end

  describe "stream" do
    test "is the events, and reads only as they are taken" do
      client = client(ScriptedServer.start(answer()))

      assert [{:sources, _}, {:chunk, %{"content" => "Žal"}}, {:chunk, _}, {:citation, _}, {:complete, _}] =
               Enum.to_list(RagClient.stream(client, nil, "?"))
    end

    test "nothing is sent before it is read" do
      client = client(ScriptedServer.start(answer()))
      stream = RagClient.stream(client, nil, "?")
      refute_receive {:request, _}, 50
      assert [{:sources, _}] = Enum.take(stream, 1)
      assert_received {:request, _}
    end

    test "leaving it early closes the connection" do
      client = client(ScriptedServer.start(Enum.take(answer(), 3) ++ [:until_closed]))
      assert [{:sources, _}, {:chunk, _}] = client |> RagClient.stream(nil, "?") |> Enum.take(2)
      assert_receive :client_closed
      assert calls(client) == 0
    end

    test "the last event may be an error" do
      client = client(ScriptedServer.start(Enum.take(answer(), 3) ++ [:close]))

      assert [{:sources, _}, {:chunk, _}, {:error, %Error{kind: :transport}}] =
               Enum.to_list(RagClient.stream(client, nil, "?"))
    end

    test "a reader that takes its time holds back the service, not this node's memory" do
      # Far more than the buffers of two sockets hold.
      many = for number <- 1..250, do: {:send, chunk(event(piece(String.duplicate("x", 64_000)), number))}
      test = self()
      url = ScriptedServer.start([{:send, head()}, {:send, chunk(event(sources()))}] ++ many ++ [:close])
      client = client(url)

      reader =
        spawn_link(fn ->
          client
          |> RagClient.stream(nil, "?")
          |> Enum.each(fn {type, _} ->
            send(test, {:read, type})
            if type == :sources, do: receive(do: (:on -> :ok))
          end)

          send(test, :read_all)
        end)

      assert_receive {:read, :sources}
      assert_receive {:at, server}
      Process.sleep(300)
      # The server is stuck in sending.
      assert Process.alive?(server)
      assert {:message_queue_len, queue} = Process.info(reader, :message_queue_len)
      assert queue <= 1
      send(reader, :on)
      assert_receive :read_all, 10_000
    end

    test "a reader's pause is not the service's silence" do
      client = client(ScriptedServer.start(answer()), idle_timeout: 400)

      events =
        client |> RagClient.stream(nil, "?") |> Enum.map(fn event -> tap(event, fn _ -> Process.sleep(500) end) end)

      assert {:complete, _} = List.last(events)
    end

    test "the reader's end is the connection's" do
      client = client(ScriptedServer.start(Enum.take(answer(), 2) ++ [:until_closed]))
      test = self()
      reader = spawn(fn -> client |> RagClient.stream(nil, "?") |> Enum.each(&send(test, &1)) end)
      assert_receive {:sources, _}
      Process.exit(reader, :kill)
      assert_receive :client_closed
      eventually(fn -> calls(client) == 0 end)
    end
  end

  describe "query_async" do
    test "sends each event to the caller, the last one last" do
      client = client(ScriptedServer.start(answer()))
      assert {:ok, ref} = RagClient.query_async(client, nil, "?")
      assert_receive {:rag_client, ^ref, {:sources, %{"sources" => [_]}}}
      assert_receive {:rag_client, ^ref, {:chunk, %{"content" => "Žal"}}}
      assert_receive {:rag_client, ^ref, {:chunk, %{"content" => "ba"}}}
      assert_receive {:rag_client, ^ref, {:citation, %{"start" => 0, "end" => 4}}}
      assert_receive {:rag_client, ^ref, {:complete, %{"finish_reason" => "stop"}}}
      refute_receive {:rag_client, _, _}, 20
    end

    test "an error is an event too" do
      client = client(ScriptedServer.start([:close]))
      assert {:ok, ref} = RagClient.query_async(client, nil, "?")
      assert_receive {:rag_client, ^ref, {:error, %Error{kind: :transport}}}
    end

    test "cancel closes the connection, and then nothing more is in the mailbox" do
      endless = for number <- 1..500, do: {:send, chunk(event(piece("#{number} ")))}
      client = client(ScriptedServer.start([{:send, head()} | endless] ++ [:until_closed]))
      assert {:ok, ref} = RagClient.query_async(client, nil, "?")
      assert_receive {:rag_client, ^ref, {:chunk, _}}
      assert RagClient.cancel(ref) == :ok
      refute_receive {:rag_client, ^ref, _}, 100
      assert_receive :client_closed
      assert RagClient.cancel(ref) == :ok
      assert calls(client) == 0
    end

    test "who cancels another's answer does not leave him waiting" do
      client = client(ScriptedServer.start([{:send, head()}, :until_closed]))
      assert {:ok, ref} = RagClient.query_async(client, nil, "?")
      Task.await(Task.async(fn -> RagClient.cancel(ref) end))
      assert_receive {:rag_client, ^ref, {:error, %Error{kind: :cancelled}}}
      assert_receive :client_closed
    end

    test "the owner's end is the connection's, however it ends" do
      for reason <- [:normal, :kill] do
        client = client(ScriptedServer.start([{:send, head()}, {:send, chunk(event(sources()))}, :until_closed]))
        test = self()

        owner =
          spawn(fn ->
            {:ok, _} = RagClient.query_async(client, nil, "?")
            receive do: ({:rag_client, _, {:sources, _}} -> send(test, :asked))
            receive do: (:end -> :ok)
          end)

        assert_receive :asked
        if reason == :kill, do: Process.exit(owner, :kill), else: send(owner, :end)
        assert_receive :client_closed
        eventually(fn -> calls(client) == 0 end)
      end
    end

    test "the owner may be another process" do
      client = client(ScriptedServer.start(answer()))
      test = self()
      owner = spawn_link(fn -> receive(do: ({:rag_client, ref, _} -> send(test, {:got, ref}))) end)
      assert {:ok, ref} = RagClient.query_async(client, nil, "?", owner: owner)
      assert_receive {:got, ^ref}
      refute_received {:rag_client, _, _}
    end

    test "an owner that does not read stops the reading" do
      most = 50
      many = for number <- 1..300, do: {:send, chunk(event(piece(String.duplicate("x", 40_000)), number))}

      client =
        client(ScriptedServer.start([{:send, head()}] ++ many ++ [{:send, chunk(event(complete()))}, :until_closed]),
          max_mailbox: most
        )

      test = self()

      owner =
        spawn_link(fn ->
          receive do: (:read -> :ok)
          send(test, {:read, read_until_complete(0)})
        end)

      assert {:ok, _} = RagClient.query_async(client, nil, "?", owner: owner)
      Process.sleep(300)
      {:message_queue_len, unread} = Process.info(owner, :message_queue_len)
      # One read of the socket may bring a few more.
      assert unread in most..(most + 20)
      send(owner, :read)
      assert_receive {:read, 300}, 20_000
    end

    test "chunks may be put together: the first at once, all in order, none lost" do
      pieces = for number <- 1..30, do: "#{number} "
      paced = for piece <- pieces, step <- [{:send, chunk(event(piece(piece)))}, {:sleep, 5}], do: step

      steps =
        [{:send, head()}, {:send, chunk(event(sources()))}] ++
          paced ++ [{:send, chunk(event(citation()) <> event(complete()))}]

      client = client(ScriptedServer.start(steps))
      {:ok, ref} = RagClient.query_async(client, nil, "?", batch_ms: 60)
      assert_receive {:rag_client, ^ref, {:chunk, %{"content" => "1 ", "query_id" => _}}}
      assert_receive {:rag_client, ^ref, {:complete, _}}, 5_000
      {:messages, messages} = Process.info(self(), :messages)
      contents = for {:rag_client, ^ref, {:chunk, %{"content" => content}}} <- messages, do: content
      assert "1 " <> Enum.join(contents) == Enum.join(pieces)
      assert length(contents) < 25
      assert [{:sources, _} | _] = for({:rag_client, ^ref, event} <- messages, do: event)
      assert_raise ArgumentError, ~r/batch_ms must be/, fn -> RagClient.query_async(client, nil, "?", batch_ms: 0) end
    end

    test "chunks that wait go out when their time has come, though nothing follows" do
      steps = [
        {:send, head()},
        {:send, chunk(event(piece("a")) <> event(piece("b")) <> event(piece("c")))},
        :until_closed
      ]

      client = client(ScriptedServer.start(steps))
      {:ok, ref} = RagClient.query_async(client, nil, "?", batch_ms: 50)
      assert_receive {:rag_client, ^ref, {:chunk, %{"content" => "a"}}}
      assert_receive {:rag_client, ^ref, {:chunk, %{"content" => "bc"}}}
      RagClient.cancel(ref)
    end

    test "an owner that never reads is given up" do
      many = for number <- 1..300, do: {:send, chunk(event(piece(String.duplicate("x", 40_000)), number))}

      client =
        client(ScriptedServer.start([{:send, head()}] ++ many ++ [:until_closed]), max_mailbox: 10, idle_timeout: 200)

      test = self()

      owner =
        spawn_link(fn ->
          receive(do: (:report -> send(test, {:last, self() |> Process.info(:messages) |> elem(1) |> List.last()})))
        end)

      assert {:ok, _} = RagClient.query_async(client, nil, "?", owner: owner)
      assert_receive :client_closed, 5_000
      eventually(fn -> calls(client) == 0 end)
      send(owner, :report)
      assert_receive {:last, {:rag_client, _, {:error, %Error{kind: :timeout, message: message}}}}
      assert message =~ "has not read"
    end

    test "an owner of many answers may read them one after the other" do
      client = client(ScriptedServer.start(answer(for _ <- 1..30, do: "x")), max_mailbox: 40)
      refs = for _ <- 1..20, do: elem(RagClient.query_async(client, nil, "?"), 1)
      for ref <- refs, do: assert(read(ref, "") == String.duplicate("x", 30))
    end

    test "a client that is stopped tells the owners" do
      url = ScriptedServer.start([{:send, head()}, :until_closed])
      {:ok, supervisor} = RagClient.start_link(name: :stopped_client, url: url)
      {:ok, ref} = RagClient.query_async(:stopped_client, nil, "?")
      assert_receive {:request, _}
      Supervisor.stop(supervisor)
      assert_receive {:rag_client, ^ref, {:error, %Error{kind: :cancelled, message: "the client was stopped"}}}
      assert_receive :client_closed
    end

    test "many at once, each with its own words" do
      url =
        ScriptedServer.start(fn %{body: body} ->
          {:ok, %{"query" => text}} = RagClient.JSON.decode(:jiffy, body)
          answer(for number <- 1..20, do: "#{text}-#{number} ")
        end)

      client = client(url)

      refs =
        for number <- 1..100, into: %{}, do: {elem(RagClient.query_async(client, nil, "q#{number}"), 1), "q#{number}"}

      for {ref, text} <- refs, do: assert(read(ref, "") == for(n <- 1..20, into: "", do: "#{text}-#{n} "))
    end
  end

  describe "commands" do
    test "are a line each way" do
      reply = %{"type" => "result", "query_id" => "1", "id" => "1", "data" => %{"job_id" => "j"}}
      client = client(ScriptedServer.start([{:send, whole(200, "application/x-ndjson", json(reply) <> "\n")}]))
      documents = [%{"id" => "d", "text" => "Članak 1."}]

      assert RagClient.process_documents(client, "acme", documents, async: false, idempotency_key: "k", timeout: 9_000) ==
               {:ok, %{"job_id" => "j"}}

      assert_received {:request, %{head: head, body: body}}
      assert head =~ "POST /v1/commands HTTP/1.1"
      assert head =~ "\r\nidempotency-key: k\r\n"

      assert RagClient.JSON.decode(:jiffy, body) ==
               {:ok,
                %{
                  "id" => "1",
                  "command" => "process_documents",
                  "params" => %{"tenant" => "acme", "documents" => documents, "async" => false}
                }}
    end

    test "each function is its command" do
      reply = whole(200, "application/x-ndjson", json(%{"type" => "result", "data" => %{}}))
      client = client(ScriptedServer.start([{:send, reply}]))

      for {call, command, params} <- [
            {&RagClient.search(&1, "t", "q", top_k: 2), "search", %{"tenant" => "t", "query" => "q", "top_k" => 2}},
            {&RagClient.cancel_query(&1, "t", "q"), "cancel_query", %{"tenant" => "t", "query_id" => "q"}},
            {&RagClient.list_documents(&1, "t",
               collection: "c",
               user: "",
               live: false,
               filter: "f",
               after: "a",
               limit: 2
             ), "list_documents",
             %{
               "tenant" => "t",
               "collection" => "c",
               "user" => "",
               "live" => false,
               "filter" => "f",
               "after" => "a",
               "limit" => 2
             }},
            {&RagClient.get_document(&1, "t", "d"), "get_document", %{"tenant" => "t", "document_id" => "d"}},
            {&RagClient.update_document(&1, "t", "d", %{"draft" => nil}), "update_document",
             %{"tenant" => "t", "document_id" => "d", "metadata" => %{"draft" => nil}}},
            {&RagClient.delete_document(&1, "t", "d"), "delete_document", %{"tenant" => "t", "document_id" => "d"}},
            {&RagClient.delete_documents(&1, "t", all: true), "delete_documents", %{"tenant" => "t", "all" => true}},
            {&RagClient.get_index(&1, "t"), "get_index", %{"tenant" => "t"}},
            {&RagClient.reindex(&1, "t", collection: "c", bulk: true), "reindex",
             %{"tenant" => "t", "collection" => "c", "bulk" => true}},
            {&RagClient.list_jobs(&1, "t", state: "failed", limit: 1), "list_jobs",
             %{"tenant" => "t", "state" => "failed", "limit" => 1}},
            {&RagClient.list_failures(&1, "t", error: "broken_document", job_id: "j"), "list_failures",
             %{"tenant" => "t", "error" => "broken_document", "job_id" => "j"}},
            {&RagClient.get_job(&1, "t", "j"), "get_job", %{"tenant" => "t", "job_id" => "j"}},
            {&RagClient.get_job(&1, nil, "j"), "get_job", %{"job_id" => "j"}},
            {&RagClient.cancel_job(&1, "t", "j"), "cancel_job", %{"tenant" => "t", "job_id" => "j"}},
            {&RagClient.retry_job(&1, "t", "j", idempotency_key: "k"), "retry_job",
             %{"tenant" => "t", "job_id" => "j"}},
            {&RagClient.create_collection(&1, "t", "c", description: "d", chunk_tokens: 100), "manage_collections",
             %{"tenant" => "t", "action" => "create", "name" => "c", "description" => "d", "chunk_tokens" => 100}},
            {&RagClient.list_collections(&1, "t", limit: 2), "manage_collections",
             %{"tenant" => "t", "action" => "list", "limit" => 2}},
            {&RagClient.get_collection(&1, "t", "c"), "manage_collections",
             %{"tenant" => "t", "action" => "get", "name" => "c"}},
            {&RagClient.update_collection(&1, "t", "c", description: "d"), "manage_collections",
             %{"tenant" => "t", "action" => "update", "name" => "c", "description" => "d"}},
            {&RagClient.delete_collection(&1, "t", "c"), "manage_collections",
             %{"tenant" => "t", "action" => "delete", "name" => "c"}},
            {&RagClient.create_key(&1, "t", name: "n", role: "admin"), "manage_keys",
             %{"tenant" => "t", "action" => "create", "name" => "n", "role" => "admin"}},
            {&RagClient.list_keys(&1, "t"), "manage_keys", %{"tenant" => "t", "action" => "list"}},
            {&RagClient.rotate_key(&1, "t", "k", overlap_s: 0), "manage_keys",
             %{"tenant" => "t", "action" => "rotate", "key_id" => "k", "overlap_s" => 0}},
            {&RagClient.revoke_key(&1, "t", "k"), "manage_keys",
             %{"tenant" => "t", "action" => "revoke", "key_id" => "k"}},
            {&RagClient.create_tenant(&1, "t"), "create_tenant", %{"tenant" => "t"}},
            {&RagClient.create_tenant(&1, "t", name: "T", settings: %{}), "create_tenant",
             %{"tenant" => "t", "name" => "T", "settings" => %{}}},
            {&RagClient.list_tenants(&1, after: "a"), "list_tenants", %{"after" => "a"}},
            {&RagClient.get_tenant(&1, "t"), "get_tenant", %{"tenant" => "t"}},
            {&RagClient.update_tenant(&1, "t", suspended: false), "update_tenant",
             %{"tenant" => "t", "suspended" => false}},
            {&RagClient.delete_tenant(&1, "t"), "delete_tenant", %{"tenant" => "t"}},
            {&RagClient.command(&1, "t", "get_index", %{}), "get_index", %{"tenant" => "t"}},
            {&RagClient.command(&1, nil, "list_tenants", %{limit: 1}), "list_tenants", %{"limit" => 1}}
          ] do
        assert call.(client) == {:ok, %{}}
        assert_received {:request, %{body: body}}
        assert {:ok, %{"command" => ^command, "params" => ^params}} = RagClient.JSON.decode(:jiffy, body)
      end
    end

    test "an error line is the service's error" do
      reply = %{
        "type" => "error",
        "error" => "document 'x' does not exist",
        "code" => "not_found",
        "retryable" => false
      }

      client = client(ScriptedServer.start([{:send, whole(200, "application/x-ndjson", json(reply))}]))
      assert {:error, %Error{kind: :server, code: "not_found"}} = RagClient.delete_document(client, nil, "x")
    end

    test "an answer that does not come" do
      client = client(ScriptedServer.start([:until_closed]), timeout: 100)
      assert {:error, %Error{kind: :timeout, message: "no answer within 100 ms"}} = RagClient.get_job(client, nil, "j")
      assert_receive :client_closed
    end

    test "an answer that is too large" do
      client =
        client(ScriptedServer.start([{:send, whole(200, "application/x-ndjson", String.duplicate("x", 2_000))}]),
          max_body_bytes: 1_000
        )

      assert {:error, %Error{kind: :protocol, message: "the answer is larger than max_body_bytes"}} =
               RagClient.get_job(client, nil, "j")
    end

    test "health is an answer whether ready or not" do
      for status <- [200, 503] do
        body = json(%{"ready" => status == 200, "stages" => %{}})
        client = client(ScriptedServer.start([{:send, whole(status, "application/json", body)}]))
        assert RagClient.health(client) == {:ok, %{"ready" => status == 200, "stages" => %{}}}
      end
    end

    test "what cannot be written as JSON is not sent" do
      client = client("http://127.0.0.1:1")

      assert {:error, %Error{kind: :protocol, message: message}} =
               RagClient.process_documents(client, nil, [%{"text" => self()}])

      assert message =~ "cannot be written as JSON"
    end
  end

  describe "a job's events" do
    test "are the job with each change, and its end" do
      job = %{"id" => "job_1", "state" => "running"}
      progress = event(Map.put(job, "type", "progress"), 2)
      complete = event(%{"type" => "complete", "id" => "job_1", "state" => "succeeded"}, 3)
      steps = [{:send, head()}, {:send, chunk(": ping\n\n" <> progress)}, {:send, chunk(complete)}, :until_closed]
      client = client(ScriptedServer.start(steps), key: "rag_k")

      assert [{:progress, %{"state" => "running"}}, {:complete, %{"state" => "succeeded"}}] =
               Enum.to_list(RagClient.job_events(client, "acme", "job_1"))

      assert_received {:request, %{head: head, body: ""}}
      assert head =~ "GET /v1/jobs/job_1/events HTTP/1.1\r\n"
      assert head =~ "\r\nx-tenant-id: acme"
      refute head =~ "content-length"
    end

    test "an id is one part of the path" do
      client =
        client(ScriptedServer.start([{:send, whole(404, "application/problem+json", json(%{"code" => "not_found"}))}]))

      assert [{:error, %Error{code: "not_found"}}] = Enum.to_list(RagClient.job_events(client, nil, "../a b\r\nx: y?"))
      assert_received {:request, %{head: "GET /v1/jobs/..%2Fa%20b%0D%0Ax%3A%20y%3F/events HTTP/1.1" <> _}}
    end

    test "a stream that the service ended is worth another one" do
      client = client(ScriptedServer.start([{:send, head() <> last_chunk()}]))

      assert [{:error, %Error{kind: :transport, retryable?: true}}] =
               Enum.to_list(RagClient.job_events(client, nil, "j"))
    end
  end

  describe "a call's trace" do
    @trace "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    @other_trace "00-#{String.duplicate("a", 32)}-00f067aa0ba902b7-00"

    test "is handed on, named or the process's own" do
      client = client(ScriptedServer.start(answer()))
      {:ok, _} = RagClient.query(client, nil, "?", traceparent: @trace)
      assert_received {:request, %{head: head}}
      assert head =~ "\r\ntraceparent: #{@trace}\r\n"

      :otel_propagator_text_map.put_current(@other_trace, "shop=1,x=y")
      {:ok, _} = RagClient.query(client, nil, "?")
      assert_received {:request, %{head: head}}
      assert head =~ "\r\ntraceparent: #{@other_trace}\r\n"
      assert head =~ "\r\ntracestate: shop=1,x=y\r\n"

      {:ok, _} = RagClient.query(client, nil, "?", traceparent: @trace)
      assert_received {:request, %{head: head}}
      refute head =~ "tracestate", "that of another trace"

      :otel_propagator_text_map.put_current(nil)
      {:ok, _} = RagClient.query(client, nil, "?")
      assert_received {:request, %{head: head}}
      refute head =~ "traceparent"
      refute head =~ "tracestate"
    end

    test "goes without a state that is no header's value, or longer than W3C Trace Context asks to hand on" do
      client = client(ScriptedServer.start(answer()))
      longest = "x=" <> String.duplicate("y", 510)

      for {state, sent?} <- [{longest, true}, {longest <> "y", false}, {"", false}, {"x=y\r\na: b", false}] do
        :otel_propagator_text_map.put_current(@other_trace, state)
        {:ok, _} = RagClient.query(client, nil, "?")
        assert_received {:request, %{head: head}}
        assert head =~ "\r\ntraceparent: #{@other_trace}\r\n"
        assert head =~ "\r\ntracestate: #{longest}\r\n" == sent?
        assert head =~ "tracestate" == sent?
      end
    end

    test "is one that there can be" do
      client = client("http://127.0.0.1:1")

      for wrong <- [
            "",
            "x",
            @trace <> "\r\na: b",
            String.replace(@trace, "4bf92f3577b34da6a3ce929d0e0e4736", String.duplicate("0", 32)),
            7
          ],
          do:
            assert_raise(ArgumentError, ~r/traceparent must be/, fn ->
              RagClient.query(client, nil, "?", traceparent: wrong)
            end)
    end
  end

  describe "mistakes" do
    test "an option nobody knows" do
      client = client("http://127.0.0.1:1")
      assert_raise ArgumentError, ~r/unknown option :topk/, fn -> RagClient.query(client, nil, "?", topk: 1) end
      assert_raise ArgumentError, ~r/unknown option :top_k/, fn -> RagClient.get_job(client, nil, "j", top_k: 1) end
    end

    test "a client that is not there" do
      assert_raise ArgumentError, ~r/no RagClient is running under the name :nobody/, fn ->
        RagClient.health(:nobody)
      end
    end

    test "values that would be other headers" do
      client = client("http://127.0.0.1:1")

      for tenant <- ["a\r\nx: y", "", " a", "č"],
          do: assert_raise(ArgumentError, ~r/tenant must be/, fn -> RagClient.query(client, tenant, "?") end)

      assert_raise ArgumentError, ~r/deadline_ms must be/, fn -> RagClient.query(client, nil, "?", deadline_ms: 0) end
    end
  end

  test "a Unix socket" do
    path = Path.join(System.tmp_dir!(), "rag-#{System.unique_integer([:positive])}.sock")
    on_exit(fn -> File.rm(path) end)
    client = client(ScriptedServer.start(answer(), unix: path))
    assert {:ok, %Answer{text: "Žalba"}} = RagClient.query(client, nil, "?")
  end

  defp cut(bytes, at) do
    <<first::binary-size(at), second::binary>> = bytes
    [{:send, first}, {:sleep, 2}, {:send, second}]
  end

  defp cut_at(%{head: head}) do
    [_, at] = Regex.run(~r/x-request-id: at-(\d+)/, head)
    String.to_integer(at)
  end

  defp read(ref, text) do
    receive do
      {:rag_client, ^ref, {:chunk, %{"content" => more}}} -> read(ref, text <> more)
      {:rag_client, ^ref, {:complete, _}} -> text
      {:rag_client, ^ref, {:error, error}} -> raise error
      {:rag_client, ^ref, _} -> read(ref, text)
    after
      5_000 -> flunk("no answer")
    end
  end

  defp read_until_complete(chunks) do
    receive do
      {:rag_client, _, {:chunk, _}} -> read_until_complete(chunks + 1)
      {:rag_client, _, {:complete, _}} -> chunks
    end
  end

  defp flush_requests do
    receive do
      {:request, _} -> flush_requests()
      {:at, _} -> flush_requests()
    after
      0 -> :ok
    end
  end
end
