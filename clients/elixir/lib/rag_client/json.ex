defmodule RagClient.JSON do
  @moduledoc """
  JSON through what the application has: the first that is there of the configured one (`json:` of the client, or
  `config :rag_client, json: MyCodec`), `Jason`, Elixir's `JSON` (1.18), Erlang's `:json` (OTP 27) and `:jiffy`.

  A configured codec is a module with `encode!/1` (to iodata or a string) and `decode!/1`, where JSON's null is `nil`
  and objects are maps with string keys.
  """

  @known [Jason, JSON, :json, :jiffy]

  @doc "The codec to use. Raises ArgumentError where there is none."
  @spec codec(module | nil, [module]) :: module
  def codec(configured, known \\ @known) do
    candidates = Enum.reject([configured, Application.get_env(:rag_client, :json)], &is_nil/1)

    case Enum.find(candidates, List.first(candidates), &Code.ensure_loaded?/1) ||
           Enum.find(known, &Code.ensure_loaded?/1) do
      nil ->
        raise ArgumentError,
              "no JSON library: add {:jason, \"~> 1.4\"} to your dependencies, or name one with `config :rag_client, json: …`"

      codec ->
        unless Code.ensure_loaded?(codec), do: raise(ArgumentError, "the JSON library #{inspect(codec)} is not there")
        codec
    end
  end

  @doc "The error tells in words what the codec found wrong with the term."
  @spec encode(module, term) :: {:ok, binary} | {:error, String.t()}
  def encode(codec, term) do
    {:ok, codec |> encode!(term) |> IO.iodata_to_binary()}
  rescue
    error -> {:error, Exception.message(error)}
  catch
    _, reason -> {:error, inspect(reason)}
  end

  @spec decode(module, binary) :: {:ok, term} | :error
  def decode(codec, text) do
    {:ok, decode!(codec, text)}
  rescue
    _ -> :error
  catch
    _, _ -> :error
  end

  defp encode!(:jiffy, term), do: apply(:jiffy, :encode, [term, [:use_nil]])
  defp encode!(:json, term), do: apply(:json, :encode, [term, &encode_value/2])
  defp encode!(codec, term), do: codec.encode!(term)

  defp decode!(:jiffy, text), do: apply(:jiffy, :decode, [text, [:return_maps, :use_nil, :copy_strings]])

  defp decode!(:json, text) do
    case apply(:json, :decode, [text, :ok, %{null: nil}]) do
      {term, :ok, rest} -> if String.trim(rest) == "", do: term, else: raise(ArgumentError, "more than one value")
    end
  end

  defp decode!(codec, text), do: codec.decode!(text)

  # Erlang's own encoder takes nil for a string.
  defp encode_value(nil, _encode), do: "null"
  defp encode_value(term, encode), do: apply(:json, :encode_value, [term, encode])
end
