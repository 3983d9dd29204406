defmodule MyAppWeb.ChatLive do
  @moduledoc """
  A chat of one user. The LiveView itself asks: when the tab is closed its process ends, and with it the answer, down to
  the engine. A new question stops the answer to the one before.
  """

  use Phoenix.LiveView

  @batch_ms 50

  @impl true
  def mount(_params, %{"tenant" => tenant, "user" => user}, socket) do
    {:ok, assign(socket, tenant: tenant, user: user, ref: nil, question: nil, text: "", sources: [], error: nil)}
  end

  @impl true
  def handle_event("ask", %{"question" => question}, socket) do
    socket = stop(socket)
    %{tenant: tenant, user: user} = socket.assigns
    socket = assign(socket, question: question, text: "", sources: [], error: nil)

    # One render every 50 ms instead of one a token.
    case RagClient.query_async(MyApp.Rag, tenant, question, user: user, batch_ms: @batch_ms) do
      {:ok, ref} -> {:noreply, assign(socket, ref: ref)}
      {:error, error} -> {:noreply, assign(socket, error: Exception.message(error))}
    end
  end

  def handle_event("stop", _params, socket), do: {:noreply, stop(socket)}

  # After cancel/1 no event of the old answer can come, so whatever comes belongs to `ref`.
  @impl true
  def handle_info({:rag_client, ref, event}, %{assigns: %{ref: ref}} = socket), do: {:noreply, show(event, socket)}

  defp show({:sources, %{"sources" => sources}}, socket), do: assign(socket, sources: sources)
  defp show({:chunk, %{"content" => content}}, socket), do: assign(socket, text: socket.assigns.text <> content)
  defp show({:citation, _}, socket), do: socket
  defp show({:complete, _}, socket), do: assign(socket, ref: nil)
  defp show({:error, error}, socket), do: assign(socket, ref: nil, error: Exception.message(error))

  defp stop(%{assigns: %{ref: nil}} = socket), do: socket

  defp stop(socket) do
    RagClient.cancel(socket.assigns.ref)
    assign(socket, ref: nil)
  end

  @impl true
  def render(assigns) do
    ~H"""
    <form phx-submit="ask">
      <input name="question" autocomplete="off" placeholder="Pitajte …" />
      <button>Pitaj</button>
      <button type="button" phx-click="stop" disabled={is_nil(@ref)}>Stani</button>
    </form>
    <h2 :if={@question}><%= @question %></h2>
    <p style="white-space: pre-wrap"><%= @text %></p>
    <p :if={@error} role="alert"><%= @error %></p>
    <ol>
      <li :for={source <- @sources}><%= source["title"] %></li>
    </ol>
    """
  end
end
