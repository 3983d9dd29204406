defmodule RagClient.HTTP.ResponseTest do
  use ExUnit.Case, async: true

  alias RagClient.HTTP.Response

  defp parse(pieces) do
    Enum.reduce_while(List.wrap(pieces), {[], Response.new()}, fn piece, {events, parser} ->
      case Response.feed(parser, piece) do
        {:ok, new, parser} -> {:cont, {events ++ new, parser}}
        {:error, reason, new} -> {:halt, {events ++ new, {:error, reason}}}
      end
    end)
  end

  # Data is told as it comes; put together it must be the same, wherever the bytes were cut.
  defp joined(events) do
    data = for {:data, bytes} <- events, into: "", do: bytes
    {for(event <- events, elem_or(event) != :data, do: event), data}
  end

  defp elem_or(event) when is_tuple(event), do: elem(event, 0)
  defp elem_or(event), do: event

  @responses [
    {"a length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Request-ID: r\r\n\r\nhello",
     {[{:head, 200, [{"content-length", "5"}, {"x-request-id", "r"}]}, :done], "hello"}},
    {"chunks, with an extension and trailers",
     "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;a=b\r\nhello\r\nC\r\n world\r\n0 12\r\n0\r\nx: y\r\n\r\n",
     {[{:head, 200, [{"transfer-encoding", "chunked"}]}, :done], "hello world\r\n0 12"}},
    {"nothing", "HTTP/1.1 204 No Content\r\nserver: x\r\n\r\n", {[{:head, 204, [{"server", "x"}]}, :done], ""}},
    {"an empty body", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
     {[{:head, 200, [{"content-length", "0"}]}, :done], ""}},
    {"interim responses",
     "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx",
     {[{:head, 200, [{"content-length", "1"}]}, :done], "x"}},
    {"bare line feeds in the head, as some servers send", "HTTP/1.0 200 OK\ncontent-length: 1\n\nx",
     {[{:head, 200, [{"content-length", "1"}]}, :done], "x"}},
    {"the same length twice", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\nx",
     {[{:head, 200, [{"content-length", "1"}, {"content-length", "1"}]}, :done], "x"}}
  ]

  for {name, response, expected} <- @responses do
    @response response
    @expected expected

    test "#{name}, whole, byte by byte and cut at every place" do
      assert @response |> parse() |> elem(0) |> joined() == @expected
      assert for(<<byte <- @response>>, do: <<byte>>) |> parse() |> elem(0) |> joined() == @expected

      for at <- 0..byte_size(@response) do
        <<first::binary-size(at), second::binary>> = @response
        assert [first, second] |> parse() |> elem(0) |> joined() == @expected, "cut at #{at}"
      end
    end

    test "#{name}, closed too early is no answer" do
      for at <- 0..(byte_size(@response) - 1) do
        {events, parser} = parse(binary_part(@response, 0, at))
        if :done not in events, do: assert(Response.closed(parser) == {:error, :closed})
      end
    end
  end

  test "without a length the answer ends with the connection" do
    {events, parser} = parse("HTTP/1.1 200 OK\r\n\r\nhello")
    assert joined(events) == {[{:head, 200, []}], "hello"}
    assert Response.closed(parser) == {:ok, [:done]}
  end

  test "what is wrong is said, after what was read before it" do
    head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"

    for {response, message} <- [
          {"SSH-2.0-OpenSSH\r\n", "the answer is not HTTP"},
          {"\r\n\r\n", "the answer is not HTTP"},
          {"HTTP/1.1 200 OK\r\n" <> String.duplicate("a: b\r\n", 20_000), "the response's head is longer"},
          {"HTTP/1.1 200 OK\r\nx: " <> String.duplicate("a", 70_000), "the response's head is longer"},
          {"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", "Content-Length cannot be read"},
          {"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", "ambiguous"},
          {"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n", "ambiguous"},
          {head <> "xyz\r\n", "a chunk's size cannot be read"},
          {head <> "-1\r\n", "a chunk's size cannot be read"},
          {head <> "5x\r\n", "a chunk's size cannot be read"},
          {head <> String.duplicate("0", 5_000), "a line between chunks is longer"},
          {head <> "1\r\nabc", "a chunk is longer than its size"}
        ] do
      assert {_, {:error, reason}} = parse(response)
      assert reason =~ message
    end

    assert {[{:head, 200, _}, {:data, "a"}], {:error, _}} = parse(head <> "1\r\na\r\nxyz\r\n")
  end
end
