defmodule RagClient.HTTP.Response do
  @moduledoc """
  A parser of one HTTP/1.1 response, fed with bytes as they come, cut anywhere.

  It yields `{:head, status, headers}` (names in lower case), `{:data, bytes}` and `:done`. Interim responses (1xx) are
  passed over.
  """

  @type headers :: [{String.t(), String.t()}]
  @type event :: {:head, pos_integer, headers} | {:data, binary} | :done
  @opaque t :: %__MODULE__{}

  @max_head_bytes 64 * 1024
  @max_chunk_line 4 * 1024

  defstruct buffer: "", phase: :status, status: nil, headers: [], head_bytes: 0

  @spec new() :: t
  def new, do: %__MODULE__{}

  @doc "`{:error, reason, events}` also gives what was read before the fault."
  @spec feed(t, binary) :: {:ok, [event], t} | {:error, String.t(), [event]}
  def feed(parser, bytes), do: run(%{parser | buffer: parser.buffer <> bytes}, [])

  @doc "The connection was closed: whether that is the response's end."
  @spec closed(t) :: {:ok, [event]} | {:error, :closed}
  def closed(%{phase: :until_close}), do: {:ok, [:done]}
  def closed(%{phase: :done}), do: {:ok, []}
  def closed(_), do: {:error, :closed}

  defp run(%{phase: :status} = parser, events) do
    case packet(:http_bin, parser) do
      {:ok, {:http_response, _version, status, _reason}, parser} ->
        run(%{parser | phase: :headers, status: status, headers: []}, events)

      other ->
        stop(other, parser, events)
    end
  end

  defp run(%{phase: :headers} = parser, events) do
    case packet(:httph_bin, parser) do
      {:ok, {:http_header, _, name, _, value}, parser} ->
        header = {name |> to_string() |> String.downcase(), value}
        run(%{parser | headers: [header | parser.headers]}, events)

      {:ok, :http_eoh, %{status: status} = parser} when status in 100..199 ->
        run(%{parser | phase: :status}, events)

      {:ok, :http_eoh, parser} ->
        headers = Enum.reverse(parser.headers)

        case body(parser.status, headers) do
          {:ok, phase} -> run(%{parser | phase: phase, headers: []}, [{:head, parser.status, headers} | events])
          {:error, reason} -> {:error, reason, Enum.reverse(events)}
        end

      other ->
        stop(other, parser, events)
    end
  end

  defp run(%{phase: {:length, 0}} = parser, events), do: run(%{parser | phase: :done}, [:done | events])
  defp run(%{phase: :done} = parser, events), do: {:ok, Enum.reverse(events), parser}
  defp run(%{buffer: ""} = parser, events), do: {:ok, Enum.reverse(events), parser}

  defp run(%{phase: :until_close, buffer: buffer} = parser, events),
    do: {:ok, Enum.reverse([{:data, buffer} | events]), %{parser | buffer: ""}}

  defp run(%{phase: {:length, left}} = parser, events) do
    {data, parser} = take(parser, left)
    run(%{parser | phase: {:length, left - byte_size(data)}}, [{:data, data} | events])
  end

  defp run(%{phase: {:chunk, 0}} = parser, events) do
    case parser.buffer do
      <<"\r\n", rest::binary>> -> run(%{parser | buffer: rest, phase: :chunk_size}, events)
      "\r" -> {:ok, Enum.reverse(events), parser}
      _ -> {:error, "a chunk is longer than its size", Enum.reverse(events)}
    end
  end

  defp run(%{phase: {:chunk, left}} = parser, events) do
    {data, parser} = take(parser, left)
    run(%{parser | phase: {:chunk, left - byte_size(data)}}, [{:data, data} | events])
  end

  defp run(%{phase: :chunk_size} = parser, events) do
    case line(parser) do
      {:ok, line, parser} ->
        case Integer.parse(line, 16) do
          {0, rest} when rest == "" or binary_part(rest, 0, 1) in [";", " ", "\t"] ->
            run(%{parser | phase: :trailers}, events)

          {size, rest} when size > 0 and (rest == "" or binary_part(rest, 0, 1) in [";", " ", "\t"]) ->
            run(%{parser | phase: {:chunk, size}}, events)

          _ ->
            {:error, "a chunk's size cannot be read", Enum.reverse(events)}
        end

      other ->
        stop(other, parser, events)
    end
  end

  defp run(%{phase: :trailers} = parser, events) do
    case line(parser) do
      {:ok, "", parser} -> run(%{parser | phase: :done}, [:done | events])
      {:ok, _trailer, parser} -> run(parser, events)
      other -> stop(other, parser, events)
    end
  end

  defp stop(:more, parser, events), do: {:ok, Enum.reverse(events), parser}
  defp stop({:error, reason}, _parser, events), do: {:error, reason, Enum.reverse(events)}

  # Status line and headers are Erlang's own to parse.
  defp packet(kind, parser) do
    case :erlang.decode_packet(kind, parser.buffer, []) do
      {:ok, {:http_error, _}, _} ->
        {:error, "the answer is not HTTP"}

      {:ok, packet, rest} ->
        head_bytes = parser.head_bytes + byte_size(parser.buffer) - byte_size(rest)

        if head_bytes > @max_head_bytes,
          do: too_long(),
          else: {:ok, packet, %{parser | buffer: rest, head_bytes: head_bytes}}

      {:more, _} ->
        if parser.head_bytes + byte_size(parser.buffer) > @max_head_bytes, do: too_long(), else: :more

      {:error, _} ->
        {:error, "the answer is not HTTP"}
    end
  end

  defp too_long, do: {:error, "the response's head is longer than #{@max_head_bytes} bytes"}

  defp line(parser) do
    case :binary.split(parser.buffer, "\r\n") do
      [line, rest] when byte_size(line) <= @max_chunk_line -> {:ok, line, %{parser | buffer: rest}}
      [partial] when byte_size(partial) <= @max_chunk_line -> :more
      _ -> {:error, "a line between chunks is longer than #{@max_chunk_line} bytes"}
    end
  end

  defp take(%{buffer: buffer} = parser, most) when byte_size(buffer) <= most, do: {buffer, %{parser | buffer: ""}}

  defp take(%{buffer: buffer} = parser, most) do
    <<data::binary-size(most), rest::binary>> = buffer
    {data, %{parser | buffer: rest}}
  end

  defp body(status, _headers) when status in [204, 304], do: {:ok, {:length, 0}}

  defp body(_status, headers) do
    coding = for {"transfer-encoding", value} <- headers, do: value |> String.trim() |> String.downcase()
    lengths = for({"content-length", value} <- headers, do: String.trim(value)) |> Enum.uniq()

    case {coding, lengths} do
      {["chunked"], _} -> {:ok, :chunk_size}
      {[], []} -> {:ok, :until_close}
      {[], [text]} -> content_length(text)
      _ -> {:error, "the answer's length is ambiguous"}
    end
  end

  defp content_length(text) do
    case Integer.parse(text) do
      {length, ""} when length >= 0 -> {:ok, {:length, length}}
      _ -> {:error, "the answer's Content-Length cannot be read"}
    end
  end
end
