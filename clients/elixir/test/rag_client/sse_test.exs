defmodule RagClient.SSETest do
  use ExUnit.Case, async: true

  alias RagClient.SSE

  defp parse(pieces, options \\ []) do
    Enum.reduce(List.wrap(pieces), {[], SSE.new(options)}, fn piece, {events, parser} ->
      {:ok, new, parser} = SSE.feed(parser, piece)
      {events ++ new, parser}
    end)
  end

  defp events(pieces), do: pieces |> parse() |> elem(0) |> Enum.reject(&(&1 == :comment))
  defp data(pieces), do: pieces |> events() |> Enum.map(& &1.data)

  # The examples of the standard, and what its text says beside them: stream, then (type, data, last event id).
  @cases [
    {"one line of data", "data: a\n\n", [{"message", "a", ""}]},
    {"lines of data are joined", "data: YHOO\ndata: +2\ndata: 10\n\n", [{"message", "YHOO\n+2\n10", ""}]},
    {"comment, id, no-id and leading space",
     ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
     [{"message", "first event", "1"}, {"message", "second event", ""}, {"message", " third event", ""}]},
    {"empty data fields, and a block that is never ended", "data\n\ndata\ndata\n\ndata:",
     [{"message", "", ""}, {"message", "\n", ""}]},
    {"a space after the colon is not data", "data:test\n\ndata: test\n\n",
     [{"message", "test", ""}, {"message", "test", ""}]},
    {"only one space is left out, a tab is not", "data:  x\ndata:\ty\n\n", [{"message", " x\n\ty", ""}]},
    {"event types, reset after each", "event: add\ndata: 1\n\nevent: remove\ndata: 2\n\ndata: 3\n\n",
     [{"add", "1", ""}, {"remove", "2", ""}, {"message", "3", ""}]},
    {"an event without data is none, and its type is forgotten", "event: add\n\ndata: 1\n\n", [{"message", "1", ""}]},
    {"the last id stays", "id: 7\ndata: 1\n\ndata: 2\n\n", [{"message", "1", "7"}, {"message", "2", "7"}]},
    {"an id with a null is ignored", "id: 7\ndata: 1\n\nid: 8\0\ndata: 2\n\n",
     [{"message", "1", "7"}, {"message", "2", "7"}]},
    {"unknown fields, wrong case and field names with spaces are ignored",
     "dat: a\nData: b\n data: c\ndata : d\ndata: e\n\n", [{"message", "e", ""}]},
    {"carriage returns", "data: 1\rdata: 2\r\rdata: 3\r\r", [{"message", "1\n2", ""}, {"message", "3", ""}]},
    {"CRLF", "data: 1\r\ndata: 2\r\n\r\ndata: 3\r\n\r\n", [{"message", "1\n2", ""}, {"message", "3", ""}]},
    {"all line ends in one stream", "data: 1\r\ndata: 2\ndata: 3\r\r\ndata: 4\n\n",
     [{"message", "1\n2\n3", ""}, {"message", "4", ""}]},
    {"a byte order mark leads", "\uFEFFdata: 1\n\n", [{"message", "1", ""}]},
    {"a second one is text", "\uFEFF\uFEFFdata: 1\n\ndata: 2\n\n", [{"message", "2", ""}]},
    {"one elsewhere stays", "data: \uFEFF\n\n", [{"message", "\uFEFF", ""}]},
    {"letters of two to four bytes", "data: čćšžđ €🦉\n\n", [{"message", "čćšžđ €🦉", ""}]},
    {"bytes that are no UTF-8 are replaced", "data: a" <> <<0xFF>> <> "b\n\n", [{"message", "a\uFFFDb", ""}]},
    {"a colon first is a comment, whatever follows", ":data: 1\n:\ndata: 2\n\n", [{"message", "2", ""}]},
    {"nothing but comments", ": ping\n\n: ping\n\n", []},
    {"an unfinished event is dropped", "data: 1\n\ndata: 2\n", [{"message", "1", ""}]}
  ]

  for {{name, stream, expected}, number} <- Enum.with_index(@cases) do
    @stream stream
    @expected expected

    test "#{number}: #{name}, whole and cut at every place" do
      assert shown(events(@stream)) == @expected

      for at <- 0..byte_size(@stream) do
        <<first::binary-size(at), second::binary>> = @stream
        assert shown(events([first, second])) == @expected, "cut at #{at}"
      end
    end

    test "#{number}: #{name}, byte by byte" do
      assert shown(events(for <<byte <- @stream>>, do: <<byte>>)) == @expected
    end
  end

  defp shown(events), do: Enum.map(events, &{&1.event, &1.data, &1.id})

  test "an event is given as soon as its blank line is there, without waiting for what a CR may be followed by" do
    assert data(["data: 1\r\r"]) == ["1"]
    assert data(["data: 1\n\n"]) == ["1"]
  end

  test "comments are told" do
    assert {[:comment, :comment], _} = parse(": ping\n\n: ping\n\n")
  end

  test "retry is digits only" do
    assert {_, parser} = parse("retry: 1500\nretry: 15s\nretry:\nretry: -1\n")
    assert SSE.retry(parser) == 1500
  end

  test "an event may have max_bytes and no more, in one line or in many, ended or not" do
    assert {[%{data: "1234"}], _} = parse("data: 1234\n\n", max_bytes: 10)

    for stream <- ["data: 12345\n\n", "data: 123456789", "data: 1\ndata: 2\ndata: 3\ndata: 4\n"] do
      assert SSE.feed(SSE.new(max_bytes: 10), stream) == {:error, :too_large}
    end
  end

  test "a large event in small reads takes time in proportion" do
    line = "data: " <> String.duplicate("a", 4_000_000) <> "\n\n"
    pieces = for <<piece::binary-size(1_000) <- line>>, do: piece
    {microseconds, {[], _}} = :timer.tc(fn -> parse_quickly(pieces) end)
    assert microseconds < 5_000_000
  end

  defp parse_quickly(pieces) do
    Enum.reduce(pieces, {[], SSE.new()}, fn piece, {events, parser} ->
      {:ok, new, parser} = SSE.feed(parser, piece)
      {new ++ events, parser}
    end)
  end
end
