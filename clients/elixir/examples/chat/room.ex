defmodule MyApp.Room do
  @moduledoc """
  One answer that several users of a tenant watch. The room's process asks, keeps what has come so far, and broadcasts
  what comes; tabs open and close without touching the answer, and a late one is given the text up to then.

  A room asks without a `user`: everybody in it sees the answer, so only documents of the whole tenant may go into it.
  """

  use GenServer, restart: :temporary

  @batch_ms 50
  @idle_ms :timer.minutes(30)

  defstruct [:tenant, :name, :ref, :asked_by, :question, :error, text: "", sources: []]

  @doc """
  Join: what the room holds now. From then on `{:room, name, change}` comes: `%{more: text, at: bytes}` goes on where the
  text has that many bytes, any other change is a map to merge.
  """
  def join(tenant, name) do
    room = find(tenant, name)
    :ok = Phoenix.PubSub.subscribe(MyApp.PubSub, topic(tenant, name))
    GenServer.call(room, :look)
  end

  @doc "Ask in the room. The answer to the question before, if it is still coming, is stopped."
  def ask(tenant, name, user, question), do: GenServer.call(find(tenant, name), {:ask, user, question})

  def stop_answer(tenant, name), do: GenServer.call(find(tenant, name), :stop)

  def start_link({tenant, name}),
    do: GenServer.start_link(__MODULE__, {tenant, name}, name: {:via, Registry, {MyApp.Rooms, {tenant, name}}})

  defp find(tenant, name) do
    case DynamicSupervisor.start_child(MyApp.RoomSupervisor, {__MODULE__, {tenant, name}}) do
      {:ok, room} -> room
      {:error, {:already_started, room}} -> room
    end
  end

  @impl true
  def init({tenant, name}), do: {:ok, %__MODULE__{tenant: tenant, name: name}, @idle_ms}

  @impl true
  def handle_call(:look, _from, room), do: {:reply, shown(room), room, @idle_ms}

  def handle_call({:ask, user, question}, _from, room) do
    room = cancelled(room)
    room = %__MODULE__{tenant: room.tenant, name: room.name, asked_by: user, question: question}

    room =
      case RagClient.query_async(MyApp.Rag, room.tenant, question, batch_ms: @batch_ms) do
        {:ok, ref} -> %{room | ref: ref}
        {:error, error} -> %{room | error: Exception.message(error)}
      end

    broadcast(room, shown(room))
    {:reply, :ok, room, @idle_ms}
  end

  def handle_call(:stop, _from, room) do
    room = cancelled(room)
    broadcast(room, %{answering?: false})
    {:reply, :ok, room, @idle_ms}
  end

  @impl true
  def handle_info({:rag_client, ref, event}, %{ref: ref} = room), do: {:noreply, show(event, room), @idle_ms}
  def handle_info(:timeout, %{ref: nil} = room), do: {:stop, :normal, room}
  def handle_info(:timeout, room), do: {:noreply, room, @idle_ms}

  defp show({:sources, %{"sources" => sources}}, room) do
    broadcast(room, %{sources: sources})
    %{room | sources: sources}
  end

  # Only what is new travels, and where it goes: a tab that has just joined may have it already.
  defp show({:chunk, %{"content" => content}}, room) do
    broadcast(room, %{more: content, at: byte_size(room.text)})
    %{room | text: room.text <> content}
  end

  defp show({:citation, _}, room), do: room

  defp show({:complete, _}, room) do
    broadcast(room, %{answering?: false})
    %{room | ref: nil}
  end

  defp show({:error, error}, room) do
    broadcast(room, %{answering?: false, error: Exception.message(error)})
    %{room | ref: nil, error: Exception.message(error)}
  end

  defp cancelled(%{ref: nil} = room), do: room

  defp cancelled(room) do
    RagClient.cancel(room.ref)
    %{room | ref: nil}
  end

  defp shown(room) do
    room |> Map.take([:asked_by, :question, :text, :sources, :error]) |> Map.put(:answering?, room.ref != nil)
  end

  defp broadcast(room, change),
    do: Phoenix.PubSub.broadcast(MyApp.PubSub, topic(room.tenant, room.name), {:room, room.name, change})

  defp topic(tenant, name), do: "room:#{tenant}:#{name}"
end
