defmodule RagClient.SSE do
  @moduledoc """
  A parser of server-sent events (WHATWG HTML, section 9.2.6), fed with bytes as they come, cut anywhere.

  It yields `%{event: type, data: data, id: last_event_id}` for each event and `:comment` for each comment (this
  service's heartbeat). What follows the last blank line when the stream ends is dropped, as the standard says.
  """

  @type event :: %{event: String.t(), data: String.t(), id: String.t()}
  @opaque t :: %__MODULE__{}

  @max_bytes 16 * 1024 * 1024

  @enforce_keys [:line_ends, :max_bytes]
  defstruct [
    :line_ends,
    :max_bytes,
    buffer: "",
    scanned: 0,
    at_start?: true,
    after_cr?: false,
    event: "",
    data: [],
    size: 0,
    id: "",
    retry: nil
  ]

  @doc "`max_bytes` bounds one event (and one line)."
  @spec new(keyword) :: t
  def new(options \\ []) do
    %__MODULE__{
      line_ends: :binary.compile_pattern(["\n", "\r"]),
      max_bytes: Keyword.get(options, :max_bytes, @max_bytes)
    }
  end

  @doc "The reconnection time in ms that the stream named last."
  @spec retry(t) :: non_neg_integer | nil
  def retry(parser), do: parser.retry

  @spec feed(t, binary) :: {:ok, [event | :comment], t} | {:error, :too_large}
  def feed(parser, bytes), do: parser |> append(bytes) |> start() |> lines([])

  defp append(parser, bytes), do: %{parser | buffer: parser.buffer <> bytes}

  # One byte order mark may lead the stream; it may also arrive byte by byte.
  defp start(%{at_start?: true, buffer: <<0xEF, 0xBB, 0xBF, rest::binary>>} = parser),
    do: %{parser | buffer: rest, at_start?: false}

  defp start(%{at_start?: true, buffer: buffer} = parser) when buffer in ["", <<0xEF>>, <<0xEF, 0xBB>>], do: parser
  defp start(parser), do: %{parser | at_start?: false}

  defp lines(%{at_start?: true} = parser, events), do: {:ok, Enum.reverse(events), parser}

  # CR ends a line at once; a LF right after it, perhaps in the next read, belongs to it.
  defp lines(%{after_cr?: true, buffer: <<"\n", rest::binary>>} = parser, events),
    do: lines(%{parser | buffer: rest, after_cr?: false}, events)

  defp lines(%{after_cr?: true, buffer: ""} = parser, events), do: {:ok, Enum.reverse(events), parser}
  defp lines(%{after_cr?: true} = parser, events), do: lines(%{parser | after_cr?: false}, events)

  defp lines(%{buffer: buffer, scanned: scanned} = parser, events) do
    case :binary.match(buffer, parser.line_ends, scope: {scanned, byte_size(buffer) - scanned}) do
      :nomatch when byte_size(buffer) + parser.size > parser.max_bytes ->
        {:error, :too_large}

      :nomatch ->
        {:ok, Enum.reverse(events), %{parser | scanned: byte_size(buffer)}}

      {at, 1} when at + parser.size > parser.max_bytes ->
        {:error, :too_large}

      {at, 1} ->
        <<line::binary-size(at), ending, rest::binary>> = buffer
        parser = %{parser | buffer: rest, scanned: 0, after_cr?: ending == ?\r}
        {parser, events} = line(line, parser, events)
        lines(parser, events)
    end
  end

  defp line("", %{data: []} = parser, events), do: {%{parser | event: ""}, events}

  defp line("", parser, events) do
    event = %{
      event: if(parser.event == "", do: "message", else: parser.event),
      data: parser.data |> Enum.reverse() |> Enum.intersperse("\n") |> IO.iodata_to_binary(),
      id: parser.id
    }

    {%{parser | event: "", data: [], size: 0}, [event | events]}
  end

  defp line(<<":", _::binary>>, parser, events), do: {parser, [:comment | events]}

  defp line(line, parser, events) do
    {name, value} =
      case :binary.split(line, ":") do
        [name, <<" ", value::binary>>] -> {name, value}
        [name, value] -> {name, value}
        [name] -> {name, ""}
      end

    {field(name, valid(value), parser), events}
  end

  defp field("data", value, parser),
    do: %{parser | data: [value | parser.data], size: parser.size + byte_size(value) + 1}

  defp field("event", value, parser), do: %{parser | event: value}

  defp field("id", value, parser) do
    if String.contains?(value, <<0>>), do: parser, else: %{parser | id: value}
  end

  defp field("retry", value, parser) do
    if value =~ ~r/\A[0-9]+\z/, do: %{parser | retry: String.to_integer(value)}, else: parser
  end

  defp field(_, _, parser), do: parser

  defp valid(text), do: if(String.valid?(text), do: text, else: replace_invalid(text, []))

  defp replace_invalid(<<character::utf8, rest::binary>>, kept), do: replace_invalid(rest, [kept | <<character::utf8>>])
  defp replace_invalid(<<_, rest::binary>>, kept), do: replace_invalid(rest, [kept | "\uFFFD"])
  defp replace_invalid(<<>>, kept), do: IO.iodata_to_binary(kept)
end
