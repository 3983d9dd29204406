defmodule RagClient.TelemetryTest do
  use RagClient.ClientCase, async: false

  setup do
    :telemetry.attach(self())
    on_exit(&:telemetry.detach/0)
  end

  test "a stream tells when it starts, its first chunk and its end, and nothing of what was said" do
    client = client(ScriptedServer.start(answer()))
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    {:ok, answer} = RagClient.query(client, "acme", "tajno pitanje", request_id: "r1", traceparent: trace)
    asked = %{client: client, command: "query", tenant: "acme", request_id: "r1", traceparent: trace, query_id: nil}
    assert_receive {:telemetry, [:rag_client, :stream, :start], %{system_time: _}, ^asked}
    about = %{asked | query_id: answer.query_id}
    assert about.query_id =~ ~r/^[0-9a-f]{32}$/
    assert_receive {:telemetry, [:rag_client, :stream, :first_chunk], %{duration: first}, ^about}
    assert_receive {:telemetry, [:rag_client, :stream, :stop], %{duration: whole, chunks: 2}, metadata}
    assert first > 0 and whole >= first
    assert metadata == Map.merge(about, %{outcome: :ok, error: nil})
  end

  test "a request tells its error" do
    client = client(ScriptedServer.start([:close]))
    {:error, error} = RagClient.get_job(client, nil, "j")
    assert_receive {:telemetry, [:rag_client, :request, :start], _, %{command: "get_job", query_id: nil}}
    assert_receive {:telemetry, [:rag_client, :request, :stop], %{duration: _}, %{outcome: :transport, error: ^error}}
  end

  test "what was cancelled is told as that" do
    client = client(ScriptedServer.start([{:send, head()}, :until_closed]))
    {:ok, ref} = RagClient.query_async(client, nil, "?")
    RagClient.cancel(ref)
    assert_receive {:telemetry, [:rag_client, :stream, :stop], %{chunks: 0}, %{outcome: :cancelled}}
  end
end
