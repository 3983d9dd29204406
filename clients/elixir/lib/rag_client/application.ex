defmodule RagClient.Application do
  @moduledoc false
  # One registry for all clients: a client's configuration is found by its name, an exchange by its reference alone.

  use Application

  @impl true
  def start(_type, _args) do
    _ = Code.ensure_loaded(:telemetry)

    Supervisor.start_link([{Registry, keys: :unique, name: RagClient.Registry}],
      strategy: :one_for_one,
      name: RagClient.ApplicationSupervisor
    )
  end
end
