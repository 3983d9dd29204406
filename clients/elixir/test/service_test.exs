defmodule RagClient.ServiceTest do
  # Against the running service: RAG_TEST_URL, and in RAG_TEST_KEY a platform's key. tests/e2e/extractive/test_elixir.py runs it.
  use RagClient.ClientCase, async: false

  @moduletag :service
  @moduletag timeout: 120_000

  @documents [
    %{
      "id" => "zup",
      "title" => "Zakon o općem upravnom postupku",
      "collection" => "zakoni",
      "language" => "hr",
      "text" => "# Članak 12.\n\nŽalba se podnosi u roku od 15 dana od dana dostave rješenja.",
      "metadata" => %{"year" => 2009}
    },
    %{
      "id" => "tuđi",
      "title" => "Bilješka",
      "user" => "u2",
      "text" => "Lozinka sefa je modra kava.",
      "language" => "hr"
    }
  ]

  setup_all do
    %{
      url: System.get_env("RAG_TEST_URL"),
      key: System.get_env("RAG_TEST_KEY"),
      vllm?: System.get_env("RAG_TEST_VLLM") not in [nil, ""]
    }
  end

  # One tenant for each test.
  defp tenant(client) do
    tenant = "t-#{System.unique_integer([:positive])}-#{System.system_time()}"

    assert {:ok, %{"id" => ^tenant, "status" => "active"}} =
             RagClient.create_tenant(client, %{tenant: tenant, name: "Ž d.o.o."})

    tenant
  end

  defp with_documents(client) do
    tenant = tenant(client)
    assert {:ok, %{"state" => "succeeded"}} = RagClient.process_documents(client, tenant, @documents, async: false)
    tenant
  end

  for {name, transport} <- [{"HTTP", RagClient.Transport.HTTP}, {"rag bridge", RagClient.Transport.Port}] do
    describe "through #{name}" do
      @transport transport
      if transport == RagClient.Transport.Port, do: @describetag(:bridge)

      setup %{url: url, key: key} do
        transport =
          if @transport == RagClient.Transport.Port,
            do: {@transport, command: {System.fetch_env!("RAG_TEST_BRIDGE"), ["bridge"]}},
            else: @transport

        %{client: client(url, key: key, transport: transport)}
      end

      test "everything is ready", %{client: client} do
        assert {:ok, %{"ready" => true, "stages" => %{"generation" => %{"ready" => true}}}} = RagClient.health(client)
      end

      test "documents in, an answer with its sources out", %{client: client, vllm?: vllm?} do
        tenant = with_documents(client)

        assert {:ok, answer} =
                 RagClient.query(client, tenant, "U kojem roku se podnosi žalba?", language: "hr", max_tokens: 64)

        assert [%{"document_id" => "zup", "metadata" => %{"year" => 2009}} | _] = answer.sources
        refute Enum.any?(answer.sources, &(&1["document_id"] == "tuđi"))
        assert answer.query_id =~ ~r/^[0-9a-f]{32}$/
        assert %{"total" => total} = answer.timings
        assert total > 0

        if vllm? do
          assert %{engine: "vllm", finish_reason: "length", usage: %{"completion_tokens" => 64}} = answer
          assert answer.text != ""
        else
          assert answer.engine == "extractive"
          assert answer.text =~ "15 dana"
          assert [%{"sources" => [cited]} | _] = answer.citations
          assert cited == hd(answer.sources)["id"]
        end
      end

      test "events in order, their text the whole answer's", %{client: client} do
        tenant = with_documents(client)
        question = "U kojem roku se podnosi žalba?"
        events = client |> RagClient.stream(tenant, question, max_tokens: 32) |> Enum.to_list()
        assert [{:sources, %{"type" => "sources"}} | rest] = events
        assert {:complete, %{"type" => "complete"}} = List.last(rest)
        text = for {:chunk, %{"content" => content}} <- events, into: "", do: content
        assert {:ok, %Answer{text: ^text}} = RagClient.query(client, tenant, question, max_tokens: 32)
      end

      test "passages, without an answer", %{client: client} do
        tenant = with_documents(client)

        assert {:ok, %{"results" => [first | _]}} =
                 RagClient.search(client, tenant, "rok za žalbu",
                   filter: "metadata.year >= 2009",
                   collections: ["zakoni"]
                 )

        assert %{"document_id" => "zup", "scores" => %{"fused" => _}} = first
        assert {:ok, %{"results" => found}} = RagClient.search(client, tenant, "lozinka sefa", user: "u2")
        assert Enum.any?(found, &(&1["document_id"] == "tuđi"))
      end

      test "a job can be followed, the same request twice is one", %{client: client} do
        tenant = tenant(client)
        options = [idempotency_key: "job-#{tenant}"]
        assert {:ok, %{"job_id" => id} = accepted} = RagClient.process_documents(client, tenant, @documents, options)
        assert RagClient.process_documents(client, tenant, @documents, options) == {:ok, accepted}

        eventually(
          fn -> match?({:ok, %{"state" => "succeeded"}}, RagClient.job(client, id, tenant: tenant)) end,
          60_000
        )

        assert {:ok, %{"counts" => %{"indexed" => 2}}} = RagClient.job(client, id, tenant: tenant)
        assert {:ok, %{"deleted" => true}} = RagClient.delete_document(client, tenant, "zup")
        assert {:ok, %{"results" => []}} = RagClient.search(client, tenant, "rok za žalbu", collections: ["zakoni"])
      end

      test "collections", %{client: client} do
        tenant = tenant(client)

        assert {:ok, %{"name" => "ugovori", "description" => "Ž"}} =
                 RagClient.create_collection(client, tenant, "ugovori", description: "Ž")

        assert {:ok, %{"documents" => 0}} = RagClient.get_collection(client, tenant, "ugovori")
        assert {:ok, %{"description" => "novo"}} = RagClient.update_collection(client, tenant, "ugovori", "novo")
        assert {:ok, %{"collections" => collections}} = RagClient.list_collections(client, tenant)
        assert Enum.map(collections, & &1["name"]) == ["default", "ugovori"]
        assert {:ok, %{"name" => "ugovori"}} = RagClient.delete_collection(client, tenant, "ugovori")

        assert {:error, %Error{code: "unknown_collection", retryable?: false}} =
                 RagClient.get_collection(client, tenant, "ugovori")
      end

      test "refusals say why", %{client: client} do
        tenant = tenant(client)

        assert {:error, %Error{kind: :http, status: 404, code: "unknown_collection", request_id: "r-1"}} =
                 RagClient.query(client, tenant, "?", collections: ["x"], request_id: "r-1")

        assert {:error, %Error{kind: :http, status: 422, code: "invalid_filter"} = error} =
                 RagClient.query(client, tenant, "?", filter: "metadata.x =")

        assert {:cancel, "invalid_filter: " <> _} = RagClient.Oban.result({:error, error})
        assert {:error, %Error{kind: :http, status: 404}} = RagClient.query(client, "nobody", "?")

        assert {:error, %Error{kind: :http, status: 422, message: message}} =
                 RagClient.process_documents(client, tenant, [%{"txt" => "x"}])

        assert message =~ "txt"
        assert {:error, %Error{code: "conflict"}} = RagClient.create_tenant(client, tenant)
      end

      test "a key that is none", %{url: url} do
        transport =
          if @transport == RagClient.Transport.Port,
            do: {@transport, command: {System.fetch_env!("RAG_TEST_BRIDGE"), ["bridge"]}},
            else: @transport

        client = client(url, key: "rag_00000000_nobody", transport: transport)
        assert {:error, %Error{kind: :http, status: 401, code: "unauthenticated"}} = RagClient.query(client, nil, "?")
      end
    end
  end

  describe "long answers of vLLM" do
    @describetag :vllm

    setup %{url: url, key: key} do
      client = client(url, key: key)
      %{client: client, tenant: with_documents(client)}
    end

    # That nothing is left in the engine is looked at by who runs this.
    test "are stopped by cancel, by leaving, and by the end of who asked", %{client: client, tenant: tenant} do
      question = "U kojem roku se podnosi žalba?"
      {:ok, ref} = RagClient.query_async(client, tenant, question, max_tokens: 4_000)
      assert_receive {:rag_client, ^ref, {:chunk, _}}, 30_000
      assert RagClient.cancel(ref) == :ok
      refute_receive {:rag_client, ^ref, _}, 200

      assert Enum.any?(RagClient.stream(client, tenant, question, max_tokens: 4_000), &match?({:chunk, _}, &1))

      test = self()

      owner =
        spawn(fn -> client |> RagClient.stream(tenant, question, max_tokens: 4_000) |> Enum.each(&send(test, &1)) end)

      assert_receive {:chunk, _}, 30_000
      Process.exit(owner, :kill)
      eventually(fn -> calls(client) == 0 end)
    end

    test "are stopped by the service's own id too", %{client: client, tenant: tenant} do
      {:ok, ref} = RagClient.query_async(client, tenant, "U kojem roku?", max_tokens: 4_000)
      assert_receive {:rag_client, ^ref, {:chunk, %{"query_id" => id}}}, 30_000

      assert {:ok, %{"state" => "cancelling"}} =
               RagClient.command(client, "cancel_query", %{query_id: id}, tenant: tenant)

      assert_receive {:rag_client, ^ref, {:complete, %{"finish_reason" => "cancelled"}}}, 10_000
    end
  end
end
