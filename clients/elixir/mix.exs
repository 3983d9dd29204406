defmodule RagClient.MixProject do
  use Mix.Project

  def project do
    [
      app: :rag_client,
      version: "0.1.0",
      elixir: "~> 1.14",
      description: "Client of the RAG inference service: streamed answers with sources, documents, tenants",
      elixirc_paths: elixirc_paths(Mix.env()),
      start_permanent: Mix.env() == :prod,
      # None, not even optional ones: Jason, :telemetry and Oban are used where the application brings them, and a
      # declared dependency stops `mix` on a machine without a network.
      deps: []
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
