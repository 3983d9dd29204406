defmodule RagClient.Application do
  @moduledoc false
  # One registry for all clients: a client's configuration is found by its name, an exchange by its reference alone.

  use Application

  @impl true
  def start(_type, _args) do
    for module <- [:telemetry, :otel_propagator_text_map], do: Code.ensure_loaded(module)

    Supervisor.start_link([{Registry, keys: :unique, name: RagClient.Registry}],
      strategy: :one_for_one,
      name: RagClient.ApplicationSupervisor
    )
  end
end
