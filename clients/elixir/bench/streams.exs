# The BEAM's side of `make bench NAME=elixir_streams`, which starts the service and reads the JSON lines that this prints.
#
#   mix run bench/streams.exs open COUNT WORDS         all streams open at once, each with words of its own
#   mix run bench/streams.exs kill COUNT TOKENS        all stream, then every second one's owner is killed
#
# RAG_TEST_URL and RAG_TEST_KEY say where.

defmodule Streams do
  alias RagClient.Exchange

  @client Streams.Client
  @deadline_ms 1_800_000

  def start do
    {:ok, _} =
      RagClient.start_link(
        name: @client,
        url: System.fetch_env!("RAG_TEST_URL"),
        key: System.fetch_env!("RAG_TEST_KEY"),
        idle_timeout: @deadline_ms
      )
  end

  def open(count, words) do
    for number <- 1..count, do: spawn_reader(number, question(number, words), words)
    opened = for _ <- 1..count, do: next(:opened)
    failed = for {:failed, error} <- opened, do: error
    # Nobody has been let on, so that whatever is open now is open at once.
    say(%{open_at_once: active(), failed_to_open: length(failed), open_errors: failed |> Enum.uniq() |> Enum.take(3)})
    readers = for {:open, pid} <- opened, do: send(pid, :on)
    results = for _ <- readers, do: next(:read)
    lost = Enum.count(results, &(&1.chunks != words or &1.last != "complete"))

    say(%{
      lost: lost + length(failed),
      mixed: Enum.count(results, & &1.mixed?),
      chunks: Enum.sum(Enum.map(results, & &1.chunks)),
      errors: results |> Enum.map(& &1.error) |> Enum.reject(&is_nil/1) |> Enum.uniq() |> Enum.take(3)
    })
  end

  def kill(count, tokens) do
    owners = for number <- 1..count, do: {number, spawn_owner(number, tokens)}
    for _ <- 1..count, do: {:first, _} = next(:first)
    {killed, kept} = Enum.split_with(owners, fn {number, _} -> rem(number, 2) == 0 end)
    say(%{streaming: active()})
    for {_, pid} <- killed, do: Process.exit(pid, :kill)
    say(%{killed: length(killed), kept: length(kept)})
    results = for _ <- kept, do: next(:finished)

    say(%{
      completed: Enum.count(results, &match?({:finished, {"length", ^tokens}}, &1)),
      others:
        results
        |> Enum.reject(&match?({:finished, {"length", ^tokens}}, &1))
        |> Enum.map(&inspect/1)
        |> Enum.uniq()
        |> Enum.take(3),
      left_here: active()
    })
  end

  # -- a stream that waits for all others once it is open

  defp spawn_reader(number, question, words) do
    parent = self()

    spawn_link(fn ->
      start = %{number: number, text: [], chunks: 0, last: nil, error: nil, parent: parent}

      read =
        @client
        |> RagClient.stream(nil, question, max_tokens: words, deadline_ms: @deadline_ms)
        |> Enum.reduce(start, &read/2)

      text = IO.iodata_to_binary(read.text)
      mixed? = text != question and Enum.any?(String.split(text), &(not String.starts_with?(&1, "s#{number}w")))

      if text != question and read.error == nil,
        do: send(parent, {:read, %{read | last: "wrong", text: []} |> Map.put(:mixed?, mixed?)}),
        else: send(parent, {:read, %{read | text: []} |> Map.put(:mixed?, mixed?)})
    end)
  end

  defp read({:sources, _}, read) do
    send(read.parent, {:opened, {:open, self()}})
    receive do: (:on -> read)
  end

  defp read({:chunk, %{"content" => content}}, read), do: %{read | text: [read.text | content], chunks: read.chunks + 1}
  defp read({:complete, _}, read), do: %{read | last: "complete"}
  defp read({:citation, _}, read), do: read

  defp read({:error, error}, %{chunks: 0} = read) do
    send(read.parent, {:opened, {:failed, Exception.message(error)}})
    exit(:normal)
  end

  defp read({:error, error}, read), do: %{read | last: "error", error: Exception.message(error)}

  defp question(number, words), do: Enum.map_join(1..words, " ", &"s#{number}w#{&1}")

  # -- a stream that is read until it ends, or its owner does

  defp spawn_owner(number, tokens) do
    parent = self()

    spawn(fn ->
      @client
      |> RagClient.stream(nil, "Koji je rok za žalbu broj #{number}?", max_tokens: tokens, deadline_ms: @deadline_ms)
      |> Enum.reduce(0, fn
        {:chunk, _}, 0 ->
          send(parent, {:first, {:first, number}}) && 1

        {:chunk, _}, chunks ->
          chunks + 1

        {:complete, %{"finish_reason" => reason, "usage" => usage}}, chunks ->
          send(parent, {:finished, {:finished, {reason, usage["completion_tokens"]}}})
          chunks

        {:error, error}, chunks ->
          send(parent, {if(chunks == 0, do: :first, else: :finished), {:failed, Exception.message(error)}})
          chunks

        _, chunks ->
          chunks
      end)
    end)
  end

  defp next(kind) do
    receive do
      {^kind, what} -> what
    after
      @deadline_ms -> raise "nothing came: #{kind}"
    end
  end

  defp active, do: @client |> Exchange.supervisor() |> DynamicSupervisor.count_children() |> Map.get(:active)

  defp say(facts) do
    {:ok, line} = RagClient.JSON.encode(RagClient.JSON.codec(nil), facts)
    IO.puts(line)
  end
end

Streams.start()

case System.argv() do
  ["open", count, words] -> Streams.open(String.to_integer(count), String.to_integer(words))
  ["kill", count, tokens] -> Streams.kill(String.to_integer(count), String.to_integer(tokens))
end
