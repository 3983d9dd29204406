defmodule RagClient.ClientCase do
  @moduledoc "Tests with a client of their own."

  use ExUnit.CaseTemplate

  using do
    quote do
      import RagClient.ClientCase
      import RagClient.ScriptedServer, except: [start: 1, start: 2]
      alias RagClient.{Answer, Error, ScriptedServer}
    end
  end

  @doc "Start a client; its name."
  def client(url, options \\ []) do
    name = :"client_#{System.unique_integer([:positive])}"
    ExUnit.Callbacks.start_supervised!({RagClient, [name: name, url: url] ++ options})
    name
  end

  @doc "A folder of the test's own, for `setup`."
  def folder(_context) do
    path = Path.join(System.tmp_dir!(), "rag-client-#{System.system_time()}-#{System.unique_integer([:positive])}")
    File.mkdir!(path)
    ExUnit.Callbacks.on_exit(fn -> File.rm_rf!(path) end)
    %{folder: path}
  end

  @doc "The calls of a client that are still going on."
  def calls(client),
    do: client |> RagClient.Exchange.supervisor() |> DynamicSupervisor.count_children() |> Map.get(:active)

  @doc "Wait until the function gives something that is true."
  def eventually(fun, within_ms \\ 5_000) do
    fun.() ||
      if within_ms > 0 do
        Process.sleep(10)
        eventually(fun, within_ms - 10)
      else
        ExUnit.Assertions.flunk("did not come about in time")
      end
  end
end
