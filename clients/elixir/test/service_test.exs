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

    assert {:ok, %{"id" => ^tenant, "status" => "active"}} = RagClient.create_tenant(client, tenant, name: "Ž d.o.o.")

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
          fn -> match?({:ok, %{"state" => "succeeded"}}, RagClient.get_job(client, tenant, id)) end,
          60_000
        )

        assert {:ok, %{"counts" => %{"indexed" => 2}}} = RagClient.get_job(client, tenant, id)
        assert {:ok, %{"deleted" => true}} = RagClient.delete_document(client, tenant, "zup")
        assert {:ok, %{"results" => []}} = RagClient.search(client, tenant, "rok za žalbu", collections: ["zakoni"])
      end

      test "collections", %{client: client} do
        tenant = tenant(client)

        assert {:ok, %{"name" => "ugovori", "description" => "Ž"}} =
                 RagClient.create_collection(client, tenant, "ugovori", description: "Ž")

        assert {:ok, %{"documents" => 0}} = RagClient.get_collection(client, tenant, "ugovori")

        assert {:ok, %{"description" => "novo"}} =
                 RagClient.update_collection(client, tenant, "ugovori", description: "novo")

        assert {:ok, %{"collections" => collections}} = RagClient.list_collections(client, tenant)
        assert Enum.map(collections, & &1["name"]) == ["default", "ugovori"]
        assert {:ok, %{"name" => "ugovori"}} = RagClient.delete_collection(client, tenant, "ugovori")

        assert {:error, %Error{code: "unknown_collection", retryable?: false}} =
                 RagClient.get_collection(client, tenant, "ugovori")
      end

      test "documents are listed, looked at, changed and removed", %{client: client} do
        tenant = with_documents(client)

        assert {:ok, %{"documents" => [%{"id" => "tuđi"}, %{"id" => "zup"}], "next" => nil}} =
                 RagClient.list_documents(client, tenant)

        assert {:ok, %{"documents" => [%{"id" => "zup"}]}} =
                 RagClient.list_documents(client, tenant, collection: "zakoni", live: true, limit: 1)

        assert {:ok, %{"metadata" => %{"year" => 2009}, "version" => _}} = RagClient.get_document(client, tenant, "zup")

        assert {:ok, %{"metadata" => %{"odjel" => "pravni"} = metadata}} =
                 RagClient.update_document(client, tenant, "zup", %{odjel: "pravni", year: nil})

        refute Map.has_key?(metadata, "year")
        assert {:error, %Error{}} = RagClient.delete_documents(client, tenant)
        assert {:ok, %{"deleted" => 1, "more" => false}} = RagClient.delete_documents(client, tenant, user: "u2")
        assert {:error, %Error{code: "not_found"}} = RagClient.get_document(client, tenant, "tuđi")
        assert {:ok, %{"documents" => 1}} = RagClient.get_index(client, tenant)
      end

      test "jobs are listed, ended and tried again", %{client: client} do
        tenant = tenant(client)
        broken = %{"id" => "b", "uri" => "file:///nothing/is/here.txt"}
        assert {:error, %Error{}} = RagClient.process_documents(client, tenant, [broken])
        assert {:ok, %{"id" => id}} = RagClient.process_documents(client, tenant, @documents, async: false)
        assert {:ok, %{"jobs" => [%{"id" => ^id}]}} = RagClient.list_jobs(client, tenant, state: "succeeded")
        assert {:ok, %{"jobs" => []}} = RagClient.list_jobs(client, tenant, state: "failed")
        # What is over stays as it is.
        assert {:ok, %{"state" => "succeeded"}} = RagClient.cancel_job(client, tenant, id)
        assert {:error, %Error{code: "conflict"}} = RagClient.retry_job(client, tenant, id)
        assert {:ok, %{"job_id" => again}} = RagClient.reindex(client, tenant)
        eventually(fn -> match?({:ok, %{"state" => "succeeded"}}, RagClient.get_job(client, tenant, again)) end, 60_000)
      end

      test "keys and tenants", %{client: client, url: url} do
        tenant = tenant(client)

        assert {:ok, %{"secret" => secret, "id" => key}} =
                 RagClient.create_key(client, tenant, name: "n", role: "admin")

        own = client(url, key: secret)
        assert {:ok, %{"id" => ^tenant}} = RagClient.get_tenant(own, tenant)
        assert {:ok, %{"results" => []}} = RagClient.search(own, nil, "?")
        assert {:ok, %{"secret" => next, "id" => successor}} = RagClient.rotate_key(client, tenant, key, overlap_s: 0)
        assert {:ok, %{"keys" => keys}} = RagClient.list_keys(client, tenant)
        assert Enum.map(keys, & &1["id"]) == [key, successor]
        assert {:ok, _} = RagClient.search(client(url, key: next), nil, "?")
        assert {:ok, %{"revoked" => true}} = RagClient.revoke_key(client, tenant, successor)

        assert {:ok, %{"name" => "Drugi"}} = RagClient.update_tenant(client, tenant, name: "Drugi", suspended: true)
        assert {:ok, %{"tenants" => [_ | _]}} = RagClient.list_tenants(client, limit: 5)
        assert {:ok, %{"id" => ^tenant, "status" => "suspended"}} = RagClient.get_tenant(client, tenant)
        assert {:ok, %{"id" => ^tenant}} = RagClient.delete_tenant(client, tenant)
        assert {:error, %Error{code: "not_found"}} = RagClient.get_tenant(client, tenant)
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

  describe "files and events, over HTTP alone" do
    setup :folder

    setup %{url: url, key: key} do
      client = client(url, key: key)
      %{client: client, tenant: tenant(client)}
    end

    test "are uploaded from disk and followed to their end", %{client: client, tenant: tenant, folder: folder} do
      act = Path.join(folder, "zakon.md")
      File.write!(act, "# Članak 1.\n\nRok za žalbu je 15 dana.")
      broken = Path.join(folder, "scan.pdf")
      File.write!(broken, "%PDF-1.7 and nothing else")
      files = [act, {broken, "skenirano \"1\".pdf"}]
      options = [collection: "upload", language: "hr", metadata: %{year: 2009}, idempotency_key: "u-#{tenant}"]
      assert {:ok, %{"job_id" => job} = accepted} = RagClient.upload_documents(client, tenant, files, options)
      assert Enum.map(accepted["documents"], & &1["filename"]) == ["zakon.md", "skenirano \"1\".pdf"]

      events = client |> RagClient.job_events(tenant, job) |> Enum.to_list()
      assert {:complete, %{"state" => "partial"}} = List.last(events)
      assert Enum.all?(Enum.drop(events, -1), &match?({:progress, %{"id" => ^job}}, &1))
      assert [{:complete, _}] = Enum.to_list(RagClient.job_events(client, tenant, job))

      assert {:ok, %{"results" => [%{"document_id" => "upload/zakon.md", "metadata" => %{"year" => 2009}} | _]}} =
               RagClient.search(client, tenant, "rok za žalbu")

      assert {:ok, %{"job_id" => again, "left_out" => []}} = RagClient.retry_job(client, tenant, job)
      assert again != job
      assert {:error, %Error{status: 404}} = RagClient.upload_documents(client, "nobody", [act])
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

      assert {:ok, %{"state" => "cancelling"}} = RagClient.cancel_query(client, tenant, id)

      assert_receive {:rag_client, ^ref, {:complete, %{"finish_reason" => "cancelled"}}}, 10_000
    end
  end
end
