# What the examples use of Phoenix and Oban, which need a package registry: enough to compile and drive them for real.

defmodule Phoenix.PubSub do
  @moduledoc false
  def child_spec(options), do: Registry.child_spec(keys: :duplicate, name: options[:name])

  def subscribe(name, topic) do
    {:ok, _} = Registry.register(name, topic, nil)
    :ok
  end

  def broadcast(name, topic, message) do
    Registry.dispatch(name, topic, fn subscribers -> for {pid, _} <- subscribers, do: send(pid, message) end)
  end
end

defmodule Phoenix.LiveView.Socket do
  @moduledoc false
  defstruct assigns: %{}, connected?: true
end

defmodule Phoenix.LiveView do
  @moduledoc false
  @callback mount(map, map, struct) :: {:ok, struct}
  @callback render(map) :: term
  @callback handle_event(String.t(), map, struct) :: {:noreply, struct}
  @callback handle_info(term, struct) :: {:noreply, struct}

  defmacro __using__(_) do
    quote do
      @behaviour Phoenix.LiveView
      import Phoenix.LiveView
    end
  end

  def assign(socket, assigns), do: %{socket | assigns: Map.merge(socket.assigns, Map.new(assigns))}
  def connected?(socket), do: socket.connected?

  @doc "The template as it is written, once every assign that it names is there."
  defmacro sigil_H({:<<>>, _, [template]}, _) do
    names = Regex.scan(~r/@([a-z_]+\??)/, template) |> Enum.map(fn [_, name] -> String.to_atom(name) end) |> Enum.uniq()

    quote do
      Enum.each(unquote(names), &Map.fetch!(var!(assigns), &1))
      unquote(template)
    end
  end
end

defmodule Oban.Job do
  @moduledoc false
  defstruct [:id, :args]
end

defmodule Oban.Worker do
  @moduledoc false
  @callback perform(struct) :: term

  defmacro __using__(_) do
    quote do
      @behaviour Oban.Worker
    end
  end
end
