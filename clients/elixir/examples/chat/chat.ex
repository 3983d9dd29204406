defmodule MyApp.Chat do
  @moduledoc """
  A user's conversation: it asks, keeps the turns, and tells the tabs that have joined.

  It outlives a tab, so a page that connects again, after the network was gone or the tab was loaded anew, is given
  everything that has come, and then what comes. If no tab is there for `@away_ms`, the answer under way is stopped, down
  to the engine.
  """

  use GenServer, restart: :temporary

  @batch_ms 50
  @away_ms :timer.seconds(30)
  @forgotten_ms :timer.minutes(30)
  @turns_sent 10

  defstruct [:tenant, :user, :ref, turns: [], tabs: %{}, away: nil]

  @doc """
  Join with the calling process: the conversation and its turns so far. From then on `{:chat, number, turn}` comes with
  each change of a turn.
  """
  def join(tenant, user, id) do
    chat = find(tenant, user, id)
    {chat, GenServer.call(chat, :join)}
  end

  @doc "Ask in the conversation. An answer that is still coming is stopped; its text stays."
  def ask(chat, question), do: GenServer.call(chat, {:ask, question})

  def stop_answer(chat), do: GenServer.call(chat, :stop)

  @doc """
  A turn's text in pieces: `{text, status, numbers}` with the sources that a statement cites, by their numbers from 1, and
  the status that the service's check gave it; `{text, nil, []}` for what lies between.
  """
  def pieces(turn) do
    numbers = for {source, number} <- Enum.with_index(turn.sources, 1), into: %{}, do: {source["id"], number}
    # The service counts characters as Unicode's code points, of which one letter may have several.
    cut(String.codepoints(turn.text), 0, Enum.sort_by(turn.citations, & &1["start"]), numbers)
  end

  defp cut([], _at, _citations, _numbers), do: []
  defp cut(left, _at, [], _numbers), do: [{Enum.join(left), nil, []}]

  defp cut(left, at, [%{"start" => start} | _] = citations, numbers) when start > at do
    {between, left} = Enum.split(left, start - at)
    [{Enum.join(between), nil, []} | cut(left, start, citations, numbers)]
  end

  defp cut(left, at, [citation | citations], numbers) do
    {stated, left} = Enum.split(left, max(citation["end"] - at, 0))
    cited = for id <- citation["sources"], number = numbers[id], do: number
    [{Enum.join(stated), citation["status"], cited} | cut(left, max(citation["end"], at), citations, numbers)]
  end

  def start_link({tenant, user, id}),
    do: GenServer.start_link(__MODULE__, {tenant, user}, name: {:via, Registry, {MyApp.Chats, {tenant, user, id}}})

  defp find(tenant, user, id) do
    case DynamicSupervisor.start_child(MyApp.ChatSupervisor, {__MODULE__, {tenant, user, id}}) do
      {:ok, chat} -> chat
      {:error, {:already_started, chat}} -> chat
    end
  end

  @impl true
  def init({tenant, user}), do: {:ok, %__MODULE__{tenant: tenant, user: user}}

  @impl true
  def handle_call(:join, {tab, _}, chat) do
    if chat.away, do: Process.cancel_timer(chat.away)
    {:reply, chat.turns, %{chat | away: nil, tabs: Map.put(chat.tabs, Process.monitor(tab), tab)}}
  end

  def handle_call({:ask, question}, _from, chat) do
    chat = stopped(chat)
    turn = %{question: question, text: "", sources: [], citations: [], state: :answering, error: nil}
    options = [user: chat.user, history: history(chat.turns), batch_ms: @batch_ms]
    chat = %{chat | turns: chat.turns ++ [turn]}

    case RagClient.query_async(MyApp.Rag, chat.tenant, question, options) do
      {:ok, ref} -> {:reply, :ok, change(%{chat | ref: ref}, & &1)}
      {:error, error} -> {:reply, :ok, change(chat, &failed(&1, error))}
    end
  end

  def handle_call(:stop, _from, chat), do: {:reply, :ok, stopped(chat)}

  @impl true
  def handle_info({:rag_client, ref, event}, %{ref: ref} = chat) do
    chat = change(chat, &add(&1, event))
    {:noreply, if(elem(event, 0) in [:complete, :error], do: %{chat | ref: nil}, else: chat)}
  end

  def handle_info({:DOWN, monitor, :process, _, _}, chat) do
    tabs = Map.delete(chat.tabs, monitor)
    {:noreply, %{chat | tabs: tabs, away: if(tabs == %{}, do: Process.send_after(self(), :away, @away_ms))}}
  end

  # A tab may have joined while one of these was on its way.
  def handle_info(_timer, %{tabs: tabs} = chat) when tabs != %{}, do: {:noreply, chat}

  def handle_info(:away, chat),
    do: {:noreply, %{stopped(chat) | away: Process.send_after(self(), :forgotten, @forgotten_ms)}}

  def handle_info(:forgotten, chat), do: {:stop, :normal, chat}

  defp add(turn, {:sources, %{"sources" => sources}}), do: %{turn | sources: sources}
  defp add(turn, {:chunk, %{"content" => content}}), do: %{turn | text: turn.text <> content}
  defp add(turn, {:citation, citation}), do: %{turn | citations: turn.citations ++ [citation]}
  defp add(turn, {:complete, _}), do: %{turn | state: :done}
  defp add(turn, {:error, error}), do: failed(turn, error)

  defp failed(turn, error), do: %{turn | state: :failed, error: Exception.message(error)}

  # After cancel/1 no event of the old answer can come.
  defp stopped(%{ref: nil} = chat), do: chat

  defp stopped(chat) do
    RagClient.cancel(chat.ref)
    change(%{chat | ref: nil}, &%{&1 | state: :stopped})
  end

  # Only the last turn ever changes.
  defp change(chat, fun) do
    {before, [turn]} = Enum.split(chat.turns, -1)
    turn = fun.(turn)
    for {_, tab} <- chat.tabs, do: send(tab, {:chat, length(before), turn})
    %{chat | turns: before ++ [turn]}
  end

  # A question that was not answered would only confuse the next one.
  defp history(turns) do
    turns
    |> Enum.filter(&(&1.state == :done))
    |> Enum.take(-@turns_sent)
    |> Enum.flat_map(&[%{role: "user", content: &1.question}, %{role: "assistant", content: &1.text}])
  end
end
