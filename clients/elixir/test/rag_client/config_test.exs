defmodule RagClient.ConfigTest do
  use ExUnit.Case, async: true

  alias RagClient.Config

  test "addresses" do
    address = fn url -> Config.new(name: :a, url: url).address end
    assert %{scheme: :http, host: ~c"rag", port: 80, authority: "rag", path: ""} = address.("http://rag")
    assert %{scheme: :https, port: 8443, authority: "rag:8443", path: "/api"} = address.("https://rag:8443/api/")
    assert %{host: ~c"::1", authority: "[::1]:8000"} = address.("http://[::1]:8000")
    assert %{scheme: :unix, host: {:local, "/run/rag.sock"}} = address.("unix:/run/rag.sock")
    assert %{host: {:local, "/run/rag.sock"}} = address.("unix:///run/rag.sock")

    for url <- ["rag:8000", "ftp://rag", "http://", "http://u:p@rag", "http://rag?x=1", "unix:", ""] do
      assert_raise ArgumentError, ~r/is not an address/, fn -> address.(url) end
    end
  end

  test "what is wrong is named" do
    for {options, message} <- [
          {[], ~r/:name is required/},
          {[name: nil], ~r/:name is required/},
          {[name: :a, nmae: 1], ~r/unknown option :nmae/},
          {[name: :a, timeout: 0], ~r/:timeout must be/},
          {[name: :a, key: "a\r\nb"], ~r/:key holds/},
          {[name: :a, key: 1], ~r/:key must be/},
          {[name: :a, transport: "http"], ~r/:transport must be/}
        ] do
      assert_raise ArgumentError, message, fn -> Config.new(options) end
    end
  end

  test "silence is judged by what the transport lets hope for" do
    assert Config.new(name: :a).idle_timeout == 20_000
    assert Config.new(name: :a, transport: RagClient.Transport.Port).idle_timeout == 340_000
    assert Config.new(name: :a, transport: {RagClient.Transport.Port, []}, idle_timeout: 5).idle_timeout == 5
  end

  test "the key is not shown" do
    refute inspect(Config.new(name: :a, key: "rag_secret")) =~ "rag_secret"
  end

  test "a key may be asked for each time" do
    assert Config.current_key(Config.new(name: :a, key: fn -> "now" end)) == "now"
  end
end
