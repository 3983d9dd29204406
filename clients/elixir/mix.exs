defmodule RagClient.MixProject do
  use Mix.Project

  def project do
    [
      app: :rag_client,
      version: "0.1.0",
      elixir: "~> 1.14",
      name: "RagClient",
      description: "Client of the RAG inference service: streamed answers with sources, documents, tenants",
      package: package(),
      docs: docs(),
      elixirc_paths: elixirc_paths(Mix.env()),
      start_permanent: Mix.env() == :prod,
      deps: deps()
    ]
  end

  # None, not even optional ones: Jason, :telemetry, OpenTelemetry, Plug and Oban are used where the application brings
  # them, and a declared dependency stops `mix` on a machine without a network. `RAG_CLIENT_DOCS=1 mix do deps.get, docs`
  # makes the pages.
  defp deps, do: if(System.get_env("RAG_CLIENT_DOCS"), do: [{:ex_doc, "~> 0.34", only: :dev, runtime: false}], else: [])

  defp package do
    [
      # No licence has been chosen. The owner of the project names it here, in SPDX's words, and adds the file LICENSE
      # to `files`; until then `mix hex.build` refuses.
      licenses: [],
      links: %{},
      files: ~w(lib guides examples .formatter.exs mix.exs README.md)
    ]
  end

  defp docs do
    [
      main: "readme",
      extras: ["README.md", "guides/phoenix.md"],
      groups_for_modules: [
        "Beside other libraries": [
          RagClient.Oban,
          RagClient.Telemetry,
          RagClient.TraceContext,
          RagClient.Webhook,
          RagClient.Webhook.Plug
        ],
        Transports: [RagClient.Transport, RagClient.Transport.HTTP, RagClient.Transport.Port],
        "The platform's first interface": [RagPlatform.RagSupervisor]
      ]
    ]
  end

  def application do
    [
      mod: {RagClient.Application, []},
      extra_applications: [:logger, :crypto, :public_key, :ssl]
    ]
  end

  defp elixirc_paths(:test), do: ["lib", "test/support", "examples"]
  defp elixirc_paths(_), do: ["lib"]
end
