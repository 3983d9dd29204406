defmodule MyAppWeb.ChatLive do
  @moduledoc """
  A tab of a conversation. It holds no state of its own: what it shows it is given by `MyApp.Chat`, also when it connects
  again.
  """

  use Phoenix.LiveView

  alias MyApp.Chat

  @impl true
  def mount(_params, %{"tenant" => tenant, "user" => user, "chat" => id}, socket) do
    # The first, static render only shows the page: joining is for the tab that stays.
    {chat, turns} = if connected?(socket), do: Chat.join(tenant, user, id), else: {nil, []}
    {:ok, assign(socket, chat: chat, turns: turns)}
  end

  @impl true
  def handle_event("ask", %{"question" => question}, socket) do
    if String.trim(question) != "", do: Chat.ask(socket.assigns.chat, question)
    {:noreply, socket}
  end

  def handle_event("stop", _params, socket) do
    Chat.stop_answer(socket.assigns.chat)
    {:noreply, socket}
  end

  @impl true
  def handle_info({:chat, number, turn}, socket) do
    turns = Enum.take(socket.assigns.turns, number) ++ [turn]
    {:noreply, assign(socket, turns: turns)}
  end

  @impl true
  def render(assigns) do
    ~H"""
    <article :for={{turn, number} <- Enum.with_index(@turns)}>
      <h2><%= turn.question %></h2>
      <p style="white-space: pre-wrap"><span :for={{text, status, cited} <- Chat.pieces(turn)} class={status}><%= text %><sup :for={source <- cited}><a href={"#source-#{number}-#{source}"}><%= source %></a></sup></span></p>
      <p :if={turn.state == :stopped}>Zaustavljeno.</p>
      <p :if={turn.error} role="alert"><%= turn.error %></p>
      <ol>
        <li :for={{source, place} <- Enum.with_index(turn.sources, 1)} id={"source-#{number}-#{place}"}><%= source["title"] %></li>
      </ol>
    </article>
    <form phx-submit="ask">
      <input name="question" autocomplete="off" placeholder="Pitajte …" />
      <button>Pitaj</button>
      <button type="button" phx-click="stop" disabled={not Enum.any?(@turns, & &1.state == :answering)}>Stani</button>
    </form>
    """
  end
end
