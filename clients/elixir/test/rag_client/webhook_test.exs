defmodule RagClient.WebhookTest do
  use ExUnit.Case, async: true

  import ExUnit.CaptureLog

  alias RagClient.Webhook

  # From standardwebhooks 1.0 for Python, with which the service signs.
  @secret "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
  @id "msg_p5jXN8AQM9LWM0D4loKWxJek"
  @timestamp 1_614_265_330
  @body ~s({"test": 2432232314})
  @signature "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

  defp sign(body, secret \\ @secret, timestamp \\ System.os_time(:second)) do
    "whsec_" <> key = secret
    mac = :crypto.mac(:hmac, :sha256, Base.decode64!(key), "#{@id}.#{timestamp}.#{body}")
    headers("v1," <> Base.encode64(mac), timestamp)
  end

  defp headers(signature, timestamp),
    do: [{"webhook-id", @id}, {"webhook-timestamp", to_string(timestamp)}, {"webhook-signature", signature}]

  describe "verify" do
    test "takes what another implementation has signed" do
      long_ago = System.os_time(:second)

      assert Webhook.verify(@body, headers(@signature, @timestamp), @secret, tolerance_s: long_ago) ==
               {:ok, %{"test" => 2_432_232_314}}

      assert Webhook.verify(@body, headers(@signature, @timestamp), @secret) == {:error, :timestamp_out_of_range}
    end

    test "takes one signature of several, and one secret of two" do
      [id, timestamp, {name, signature}] = sign(@body)
      several = [id, timestamp, {name, "v2,x v1,#{Base.encode64("wrong")} v1,??? #{signature}"}]
      other = "whsec_" <> Base.encode64("another secret of 24 b.")
      assert {:ok, _} = Webhook.verify(@body, several, [other, @secret])
      assert Webhook.verify(@body, several, other) == {:error, :no_matching_signature}
    end

    test "refuses what was changed, is too old, or has no signature" do
      signed = sign(@body)
      assert {:ok, _} = Webhook.verify(@body, signed, @secret)
      assert Webhook.verify(@body <> " ", signed, @secret) == {:error, :no_matching_signature}

      assert Webhook.verify(@body, List.keyreplace(signed, "webhook-id", 0, {"webhook-id", "m"}), @secret) ==
               {:error, :no_matching_signature}

      for missing <- ["webhook-id", "webhook-timestamp", "webhook-signature"],
          do: assert(Webhook.verify(@body, List.keydelete(signed, missing, 0), @secret) == {:error, :missing_header})

      now = System.os_time(:second)

      for off <- [-400, 400],
          do:
            assert(Webhook.verify(@body, sign(@body, @secret, now + off), @secret) == {:error, :timestamp_out_of_range})

      assert {:ok, _} = Webhook.verify(@body, sign(@body, @secret, now - 250), @secret)
      assert Webhook.verify(@body, sign(@body, @secret, "now"), @secret) == {:error, :timestamp_out_of_range}
      assert Webhook.verify("[1]", sign("[1]"), @secret) == {:error, :not_json}
    end

    test "a secret that is none is not told" do
      for secret <- ["geheim", "whsec_", "whsec_?"] do
        error = assert_raise ArgumentError, fn -> Webhook.verify(@body, sign(@body), secret) end
        refute error.message =~ "geheim"
      end
    end
  end

  describe "the plug" do
    defp post(body, headers, options \\ []) do
      conn = %Plug.Conn{path_info: ["hooks", "rag"], body: body, req_headers: headers}

      Webhook.Plug.call(
        conn,
        Webhook.Plug.init([at: "/hooks/rag", secret: @secret, handler: {__MODULE__, :handle, [self()]}] ++ options)
      )
    end

    def handle(message, id, test) do
      send(test, {:handled, message, id})
      Map.get(message, "then", :ok) |> result()
    end

    defp result("fail"), do: {:error, :full}
    defp result("more"), do: {:ok, 7}
    defp result(:ok), do: :ok

    test "hands a verified message and its id to the handler" do
      for body <- [~s({"type":"job.completed","data":{"id":"j"}}), ~s({"then":"more"})] do
        assert %{status: 204, halted: true, resp_body: ""} = post(body, sign(body))
        assert_received {:handled, %{}, @id}
      end
    end

    test "answers what cannot be verified with 401, and the handler hears nothing" do
      assert %{status: 401, halted: true, resp_body: text} = post(~s({"a":2}), sign(~s({"a":1})))
      assert text =~ "no_matching_signature"
      assert %{status: 401} = post("{}", [])
      refute_received {:handled, _, _}
    end

    test "asks for another try where the handler failed" do
      body = ~s({"then":"fail"})
      assert capture_log(fn -> assert %{status: 500} = post(body, sign(body)) end) =~ "#{@id} was not handled: :full"
    end

    test "reads no more than a bound, and only its own path" do
      body = ~s({"pad":"#{String.duplicate("x", 2_000)}"})
      assert %{status: 413} = post(body, sign(body), max_bytes: 1_000)
      assert %{status: 204} = post(body, sign(body), max_bytes: byte_size(body))
      assert %{status: 400} = post(:gone, [])
      options = Webhook.Plug.init(at: "/hooks/rag", secret: @secret, handler: {__MODULE__, :handle, []})
      other = %Plug.Conn{path_info: ["hooks", "other"], body: "untouched"}
      assert Webhook.Plug.call(other, options) == other

      assert %{status: 405, halted: true} =
               Webhook.Plug.call(%Plug.Conn{path_info: ["hooks", "rag"], method: "GET"}, options)
    end

    test "the secret may be asked for each message" do
      Process.put(:secret, @secret)
      assert %{status: 204} = post("{}", sign("{}"), secret: {Process, :get, [:secret]})
    end

    test "a mistake in its options is named" do
      right = [at: "/x", secret: @secret, handler: {__MODULE__, :handle, []}]

      for {option, value} <- [at: nil, at: "", secret: nil, handler: nil, handler: &IO.inspect/1, path: "/x"] do
        error = assert_raise ArgumentError, fn -> Webhook.Plug.init(Keyword.put(right, option, value)) end
        assert error.message =~ inspect(option)
      end
    end
  end
end
