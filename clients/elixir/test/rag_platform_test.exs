defmodule RagPlatform.RagSupervisorTest do
  use RagClient.ClientCase, async: false

  alias RagPlatform.RagSupervisor

  test "the original messages" do
    start_supervised!({RagSupervisor, url: ScriptedServer.start(answer()), key: "rag_k"})
    assert {:ok, _} = RagSupervisor.query_async("acme", "u1", "Što je žalba?")
    assert_receive {:rag_response_sources, [%{"id" => "p1"}]}
    assert_receive {:rag_response_chunk, "Žal"}
    assert_receive {:rag_response_chunk, "ba"}
    assert_receive {:rag_response_complete, %{"finish_reason" => "stop"}}
    assert_received {:request, %{head: head, body: body}}
    assert head =~ "x-tenant-id: acme"
    assert body =~ ~s("user":"u1")
    refute_received {:rag_client, _, _}
  end

  test "an error, and a cancelled answer" do
    start_supervised!({RagSupervisor, url: ScriptedServer.start([{:send, head()}, :until_closed]), idle_timeout: 1_000})
    {:ok, _} = RagSupervisor.query_async("acme", nil, "?")
    assert_receive {:rag_response_error, %Error{kind: :timeout}}
    {:ok, ref} = RagSupervisor.query_async("acme", nil, "?")
    assert RagSupervisor.cancel(ref) == :ok
    assert_receive :client_closed
    refute_receive {:rag_response_error, _}, 200
  end
end
