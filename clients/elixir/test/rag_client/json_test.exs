defmodule RagClient.JSONTest do
  use ExUnit.Case, async: false

  alias RagClient.JSON

  defmodule Codec do
    def encode!(term), do: :erlang.term_to_binary(term)
    def decode!(bytes), do: :erlang.binary_to_term(bytes)
  end

  test "the first that is there is taken, the configured one before all" do
    assert JSON.codec(nil, [NoSuchCodec, Codec, :jiffy]) == Codec
    assert JSON.codec(Codec, [:jiffy]) == Codec
    Application.put_env(:rag_client, :json, Codec)
    on_exit(fn -> Application.delete_env(:rag_client, :json) end)
    assert JSON.codec(nil, [:jiffy]) == Codec
  end

  test "one that was asked for and is not there is refused, not passed over" do
    assert_raise ArgumentError, ~r/NoSuchCodec is not there/, fn -> JSON.codec(NoSuchCodec, [Codec]) end
    assert_raise ArgumentError, ~r/add {:jason/, fn -> JSON.codec(nil, [NoSuchCodec]) end
  end

  test "null is nil, objects are maps with strings, letters stay" do
    codec = JSON.codec(nil)
    term = %{"a" => nil, "b" => [1, 2.5, true, "čćšžđ 🦉"], "c" => %{}}
    assert {:ok, text} = JSON.encode(codec, term)
    assert text =~ "null"
    assert JSON.decode(codec, text) == {:ok, term}
    assert {:ok, text} = JSON.encode(codec, %{atom: :value})
    assert JSON.decode(codec, text) == {:ok, %{"atom" => "value"}}
  end

  test "what is not JSON is an error either way" do
    codec = JSON.codec(nil)
    for text <- ["", "{", "nul", "{} {}", <<34, 0xFF, 34>>], do: assert(JSON.decode(codec, text) == :error)
    assert {:error, reason} = JSON.encode(codec, %{"a" => {:no, :tuple}})
    assert is_binary(reason)
  end
end
