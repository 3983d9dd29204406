defmodule RagClient.ExamplesTest do
  # The guide's own modules, driven as Phoenix and Oban drive them.
  use RagClient.ClientCase, async: false

  alias Phoenix.LiveView.Socket

  defp rag(steps), do: start_supervised!({RagClient, name: MyApp.Rag, url: ScriptedServer.start(steps), key: "rag_k"})

  # A LiveView's process: it is asked, gets messages, and renders.
  defp tab(module, params, session \\ %{"tenant" => "acme", "user" => "u1"}, socket \\ %Socket{}) do
    {:ok, socket} = module.mount(params, session, socket)
    render(module, socket)
  end

  defp press(module, socket, name, params \\ %{}) do
    {:noreply, socket} = module.handle_event(name, params, socket)
    render(module, socket)
  end

  defp settle(module, socket, until) do
    if until.(socket.assigns) do
      socket
    else
      receive do
        {kind, _, _} = message when kind in [:chat, :room] ->
          {:noreply, socket} = module.handle_info(message, socket)
          settle(module, render(module, socket), until)
      after
        3_000 -> flunk("it stays at #{inspect(socket.assigns)}")
      end
    end
  end

  defp render(module, socket) do
    assert module.render(socket.assigns) =~ ~s(phx-submit="ask")
    socket
  end

  describe "a chat of one user" do
    @session %{"tenant" => "acme", "user" => "u1", "chat" => "c1"}

    setup do
      start_supervised!({Registry, keys: :unique, name: MyApp.Chats})
      start_supervised!({DynamicSupervisor, name: MyApp.ChatSupervisor})
      :ok
    end

    defp chat_tab(session \\ @session), do: tab(MyAppWeb.ChatLive, %{}, session)
    defp ask(socket, question), do: press(MyAppWeb.ChatLive, socket, "ask", %{"question" => question})
    defp until(socket, fun), do: settle(MyAppWeb.ChatLive, socket, &fun.(List.last(&1.turns)))
    defp done?(turn), do: turn != nil and turn.state == :done

    test "shows the answer as it comes, its sources, and which statement cites which" do
      rag(answer())
      socket = chat_tab() |> ask("Što je žalba?") |> until(&done?/1)
      assert [%{text: "Žalba", sources: [%{"title" => "Zakon"}], error: nil} = turn] = socket.assigns.turns
      assert MyApp.Chat.pieces(turn) == [{"Žalb", "supported", [1]}, {"a", nil, []}]
      assert_received {:request, %{body: body}}
      assert body =~ ~s("user":"u1")
    end

    test "statements are cut by code points, whatever their order" do
      turn = %{
        # The first letter is two code points.
        text: "C\u030ca ima. Da! Ne",
        sources: [%{"id" => "a"}, %{"id" => "b"}],
        citations: [
          %{"start" => 9, "end" => 12, "sources" => ["b", "gone"], "status" => "unsupported"},
          %{"start" => 0, "end" => 8, "sources" => ["a", "b"], "status" => "supported"}
        ]
      }

      assert MyApp.Chat.pieces(turn) == [
               {"C\u030ca ima.", "supported", [1, 2]},
               {" ", nil, []},
               {"Da!", "unsupported", [2]},
               {" Ne", nil, []}
             ]
    end

    test "a further question goes with the turns before it" do
      rag(answer())
      socket = chat_tab() |> ask("Što je žalba?") |> until(&done?/1)
      assert_received {:request, %{body: first}}
      assert {:ok, %{"history" => []}} = RagClient.JSON.decode(:jiffy, first)
      socket = socket |> ask("A rok?") |> until(&(&1.question == "A rok?" and done?(&1)))
      assert [%{question: "Što je žalba?"}, %{question: "A rok?"}] = socket.assigns.turns
      assert_received {:request, %{body: second}}

      assert {:ok, %{"query" => "A rok?", "history" => history}} = RagClient.JSON.decode(:jiffy, second)

      assert history == [
               %{"role" => "user", "content" => "Što je žalba?"},
               %{"role" => "assistant", "content" => "Žalba"}
             ]
    end

    test "a new question stops the answer before, of which nothing more is shown" do
      endless = for number <- 1..200, do: {:send, chunk(event(piece("stari#{number} ")))}

      rag(fn %{body: body} -> if body =~ "prvo", do: [{:send, head()}] ++ endless ++ [:until_closed], else: answer() end)

      socket = chat_tab() |> ask("prvo") |> until(&(&1 != nil and &1.text =~ "stari1"))
      socket = ask(socket, "drugo")
      assert_receive :client_closed
      socket = until(socket, &(&1.question == "drugo" and done?(&1)))
      assert [%{state: :stopped}, %{text: "Žalba"}] = socket.assigns.turns
      # A question whose answer was stopped is none of the history.
      assert_received {:request, %{body: _}}
      assert_received {:request, %{body: body}}
      assert body =~ ~s("history":[])
    end

    test "stop, and an error" do
      rag([{:send, head()}, :until_closed])
      socket = chat_tab() |> ask("?")
      socket = press(MyAppWeb.ChatLive, socket, "stop") |> until(&(&1 != nil and &1.state == :stopped))
      assert_receive :client_closed
      stop_supervised!({RagClient, MyApp.Rag})
      rag([:close])
      socket = socket |> ask("?") |> until(&(&1.state == :failed))
      assert List.last(socket.assigns.turns).error =~ "gave no answer"
      assert press(MyAppWeb.ChatLive, socket, "ask", %{"question" => "  "}).assigns.turns == socket.assigns.turns
    end

    test "a tab that connects again is given what has come, and what comes; another user's is not" do
      rag(
        [{:send, head()}, {:send, chunk(event(sources()))}, {:send, chunk(event(piece("Žal")))}, {:await, :on}] ++
          Enum.drop(answer(), 3)
      )

      test = self()

      first =
        spawn(fn ->
          chat_tab() |> ask("Što je žalba?") |> until(&(&1 != nil and &1.text == "Žal"))
          send(test, :seen)
        end)

      monitor = Process.monitor(first)
      assert_receive :seen
      assert_receive {:DOWN, ^monitor, _, _, :normal}
      socket = chat_tab()
      assert [%{question: "Što je žalba?", text: "Žal", state: :answering}] = socket.assigns.turns
      assert chat_tab(%{@session | "user" => "u2"}).assigns.turns == []
      refute_received :client_closed
      assert_receive {:at, server}
      send(server, :on)
      assert [%{text: "Žalba"}] = until(socket, &done?/1).assigns.turns
    end

    test "an answer that nobody waits for is stopped, and a conversation that nobody comes back to is forgotten" do
      rag([{:send, head()}, {:send, chunk(event(sources()))}, :until_closed])
      {chat, []} = MyApp.Chat.join("acme", "u1", "c2")
      :ok = MyApp.Chat.ask(chat, "?")
      assert_receive {:request, _}
      # While a tab is there, the time that it was away counts for nothing.
      send(chat, :away)
      assert %{ref: ref} = :sys.get_state(chat)
      assert ref != nil
      leaving = Task.async(fn -> MyApp.Chat.join("acme", "u1", "c3") end)
      {away, []} = Task.await(leaving)
      assert eventually(fn -> :sys.get_state(away).away end)
      :sys.replace_state(chat, &%{&1 | tabs: %{}})
      send(chat, :away)
      assert_receive :client_closed
      monitor = Process.monitor(chat)
      send(chat, :forgotten)
      assert_receive {:DOWN, ^monitor, _, _, :normal}
    end
  end

  describe "a room" do
    setup do
      start_supervised!({Phoenix.PubSub, name: MyApp.PubSub})
      start_supervised!({Registry, keys: :unique, name: MyApp.Rooms})
      start_supervised!({DynamicSupervisor, name: MyApp.RoomSupervisor})
      :ok
    end

    # Another user's tab, in a process of its own, that tells the test what it shows once that is so.
    defp other_tab(session, until) do
      test = self()

      spawn_link(fn ->
        socket = tab(MyAppWeb.RoomLive, %{"room" => "r"}, session)
        send(test, {:joined, self()})
        send(test, {:shows, self(), settle(MyAppWeb.RoomLive, socket, until).assigns})
        receive do: (:leave -> :ok)
      end)
    end

    test "several users of a tenant watch one answer; who comes late is given what has come; others' rooms stay silent" do
      rag(
        [{:send, head()}, {:send, chunk(event(sources()))}, {:send, chunk(event(piece("Žal")))}, {:await, :on}] ++
          Enum.drop(answer(), 3)
      )

      done = &(&1.text == "Žalba" and not &1.answering?)
      first = other_tab(%{"tenant" => "acme", "user" => "u2"}, done)
      assert_receive {:joined, ^first}
      elsewhere = other_tab(%{"tenant" => "other", "user" => "u9"}, &(&1.text != ""))
      assert_receive {:joined, ^elsewhere}
      socket = tab(MyAppWeb.RoomLive, %{"room" => "r"})
      socket = press(MyAppWeb.RoomLive, socket, "ask", %{"question" => "Što je žalba?"})
      socket = settle(MyAppWeb.RoomLive, socket, &(&1.text == "Žal"))
      late = other_tab(%{"tenant" => "acme", "user" => "u3"}, done)
      assert_receive {:joined, ^late}
      assert_receive {:at, server}
      send(server, :on)
      socket = settle(MyAppWeb.RoomLive, socket, done)
      assert %{asked_by: "u1", question: "Što je žalba?", sources: [_]} = socket.assigns

      for pid <- [first, late],
          do: assert_receive({:shows, ^pid, %{text: "Žalba", asked_by: "u1", sources: [_]}}, 2_000)

      refute_received {:shows, ^elsewhere, _}
      # Nobody's private documents go into what all can see.
      assert_received {:request, %{body: body, head: head}}
      refute body =~ "user"
      assert head =~ "x-tenant-id: acme"
      for pid <- [first, late], do: send(pid, :leave)
      Process.unlink(elsewhere)
      Process.exit(elsewhere, :kill)
    end

    test "a tab that closes does not end the answer; a new question does" do
      endless = for number <- 1..50, do: {:send, chunk(event(piece("stari#{number} ")))}

      rag(fn %{body: body} -> if body =~ "prvo", do: [{:send, head()}] ++ endless ++ [:until_closed], else: answer() end)

      closing =
        spawn(fn ->
          socket = tab(MyAppWeb.RoomLive, %{"room" => "r"})
          press(MyAppWeb.RoomLive, socket, "ask", %{"question" => "prvo"})
        end)

      monitor = Process.monitor(closing)
      assert_receive {:DOWN, ^monitor, _, _, :normal}
      socket = tab(MyAppWeb.RoomLive, %{"room" => "r"})
      assert socket.assigns.question == "prvo"
      socket = settle(MyAppWeb.RoomLive, socket, &(&1.text =~ "stari50"))
      refute_received :client_closed
      socket = press(MyAppWeb.RoomLive, socket, "ask", %{"question" => "drugo"})
      assert_receive :client_closed
      socket = settle(MyAppWeb.RoomLive, socket, &(not &1.answering? and &1.text == "Žalba"))
      press(MyAppWeb.RoomLive, socket, "stop")
    end

    test "what was broadcast while a tab joined is not shown twice" do
      socket = tab(MyAppWeb.RoomLive, %{"room" => "r"})
      {:noreply, socket} = MyAppWeb.RoomLive.handle_info({:room, "r", %{text: "Žal", answering?: true}}, socket)
      {:noreply, socket} = MyAppWeb.RoomLive.handle_info({:room, "r", %{more: "al", at: 2}}, socket)
      {:noreply, socket} = MyAppWeb.RoomLive.handle_info({:room, "r", %{more: "ba", at: 4}}, socket)
      assert socket.assigns.text == "Žalba"
    end

    test "the page before the tab is connected shows nothing and joins nothing" do
      socket =
        tab(MyAppWeb.RoomLive, %{"room" => "r"}, %{"tenant" => "acme", "user" => "u1"}, %Socket{connected?: false})

      assert socket.assigns.text == ""
      assert DynamicSupervisor.count_children(MyApp.RoomSupervisor).active == 0
    end
  end

  test "an Oban job" do
    job = %Oban.Job{id: 7, args: %{"tenant" => "acme", "documents" => [%{"id" => "d", "text" => "x"}]}}
    rag([{:send, whole(200, "application/x-ndjson", json(%{"type" => "result", "data" => %{"job_id" => "j"}}))}])
    assert MyApp.DocumentsWorker.perform(job) == :ok
    assert_received {:request, %{head: head}}
    assert head =~ "idempotency-key: oban-7"
    stop_supervised!({RagClient, MyApp.Rag})

    rag([
      {:send,
       whole(503, "application/problem+json", json(%{"code" => "overloaded", "retryable" => true}), [
         {"retry-after", "9"}
       ])}
    ])

    assert MyApp.DocumentsWorker.perform(job) == {:snooze, 9}
  end
end
