defmodule RagClient.ErrorTest do
  use ExUnit.Case, async: true

  alias RagClient.Error

  @problem %{
    "type" => "http://rag/errors/overloaded",
    "title" => "Too many requests at once",
    "detail" => "generation is full",
    "status" => 503,
    "code" => "overloaded",
    "retryable" => true,
    "request_id" => "r1"
  }

  test "a refusal tells all that the service told" do
    assert Error.from_response(503, [{"retry-after", "2"}], @problem) == %Error{
             kind: :http,
             status: 503,
             code: "overloaded",
             message: "Too many requests at once: generation is full",
             retry_after: 2,
             request_id: "r1",
             retryable?: true
           }
  end

  test "a proxy's page in between is an error too, retryable by its status" do
    for {status, retryable?} <- [
          {400, false},
          {404, false},
          {429, true},
          {500, true},
          {501, false},
          {502, true},
          {503, true}
        ] do
      error = Error.from_response(status, [{"x-request-id", "r2"}], nil)
      assert {error.code, error.request_id, error.retryable?} == {nil, "r2", retryable?}
      assert error.message == "the service answered #{status}"
    end

    # JSON of something else, and of wrong types, is no reason to fail.
    for body <- [[], "x", 1, %{"title" => 1, "code" => [], "retryable" => "yes", "request_id" => %{}}],
        do: assert(%Error{kind: :http, code: nil} = Error.from_response(400, [], body))
  end

  test "a date in Retry-After is passed over" do
    assert Error.from_response(503, [{"retry-after", "Wed, 21 Oct 2026 07:28:00 GMT"}], nil).retry_after == nil
  end

  test "an error in the stream is the service's, the bridge's own codes tell what happened there" do
    stream = %{
      "type" => "error",
      "error" => "generation lost its replica",
      "code" => "stage_unavailable",
      "retryable" => true,
      "query_id" => "q"
    }

    assert %Error{kind: :server, code: "stage_unavailable", retryable?: true, query_id: "q"} =
             Error.from_message(stream)

    for {code, kind} <- [
          {"unreachable", :transport},
          {"connection_lost", :transport},
          {"timeout", :timeout},
          {"cancelled", :cancelled},
          {"bad_frame", :protocol}
        ] do
      assert Error.from_message(%{"code" => code, "error" => "x"}).kind == kind
    end

    refusal = Map.merge(stream, %{"status" => 503, "retry_after" => 2, "request_id" => "r"})
    assert %Error{kind: :http, status: 503, retry_after: 2, request_id: "r"} = Error.from_message(refusal)
  end

  test "it can be raised, and says itself" do
    assert_raise Error, "cannot connect: connection refused", fn ->
      raise Error.transport("cannot connect", :econnrefused)
    end

    assert Error.transport("x", {:tls_alert, {:unknown_ca, ~c"…"}}).message == "x: TLS: unknown_ca"
    assert Error.transport("x", :no_such_reason).message == "x: no_such_reason"
  end

  test "an Oban job: done, later, again, or never" do
    result = fn fields -> RagClient.Oban.result({:error, struct!(%Error{kind: :http, message: "m"}, fields)}) end
    assert RagClient.Oban.result({:ok, %{}}) == :ok
    assert result.(status: 429, retry_after: 7) == {:snooze, 7}
    assert result.(status: 503) == {:snooze, 5}
    assert result.(status: 503, retry_after: 0) == {:snooze, 1}
    assert result.(status: 409, code: "request_in_progress", retryable?: true, retry_after: 2) == {:snooze, 2}
    assert result.(status: 409, code: "conflict") == {:cancel, "conflict: m"}
    for status <- [400, 401, 403, 404, 413, 415, 422], do: assert({:cancel, "m"} = result.(status: status))
    for status <- [500, 502, 504], do: assert({:error, "m"} = result.(status: status, retryable?: true))
    assert {:error, _} = result.(status: 500, code: "internal_error")
    for kind <- [:transport, :timeout], do: assert({:error, "m"} = result.(kind: kind, retryable?: true))
    assert {:snooze, 5} = result.(kind: :server, code: "overloaded", retryable?: true)
    assert {:error, _} = result.(kind: :server, code: "deadline_exceeded", retryable?: true)
    assert {:error, _} = result.(kind: :server, code: "internal_error")
    assert {:cancel, "quota_exceeded: m"} = result.(kind: :server, code: "quota_exceeded")
    assert {:error, _} = result.(kind: :protocol)
  end
end
