defmodule MyAppWeb.RoomLive do
  @moduledoc "A tab of a room: shows what the room has, and what comes."

  use Phoenix.LiveView

  alias MyApp.Room

  @impl true
  def mount(%{"room" => room}, %{"tenant" => tenant, "user" => user}, socket) do
    empty = %{asked_by: nil, question: nil, text: "", sources: [], error: nil, answering?: false}
    # The first, static render only shows the page: joining is for the tab that stays.
    now = if connected?(socket), do: Room.join(tenant, room), else: empty
    {:ok, assign(socket, Map.merge(now, %{tenant: tenant, user: user, room: room}))}
  end

  @impl true
  def handle_event("ask", %{"question" => question}, socket) do
    %{tenant: tenant, user: user, room: room} = socket.assigns
    :ok = Room.ask(tenant, room, user, question)
    {:noreply, socket}
  end

  def handle_event("stop", _params, socket) do
    :ok = Room.stop_answer(socket.assigns.tenant, socket.assigns.room)
    {:noreply, socket}
  end

  @impl true
  def handle_info({:room, room, %{more: more, at: at}}, %{assigns: %{room: room, text: text}} = socket),
    do: {:noreply, if(at == byte_size(text), do: assign(socket, text: text <> more), else: socket)}

  def handle_info({:room, room, change}, %{assigns: %{room: room}} = socket), do: {:noreply, assign(socket, change)}

  @impl true
  def render(assigns) do
    ~H"""
    <form phx-submit="ask">
      <input name="question" autocomplete="off" placeholder="Pitajte …" />
      <button>Pitaj</button>
      <button type="button" phx-click="stop" disabled={not @answering?}>Stani</button>
    </form>
    <h2 :if={@question}><%= @asked_by %>: <%= @question %></h2>
    <p style="white-space: pre-wrap"><%= @text %></p>
    <p :if={@error} role="alert"><%= @error %></p>
    <ol>
      <li :for={source <- @sources}><%= source["title"] %></li>
    </ol>
    """
  end
end
