defmodule MyApp.DocumentsWorker do
  @moduledoc """
  Hands documents over in the background. The job's id is the idempotency key: however often Oban runs it, the service
  takes the documents once.
  """

  use Oban.Worker, queue: :documents, max_attempts: 20

  @impl Oban.Worker
  def perform(%Oban.Job{id: id, args: %{"tenant" => tenant, "documents" => documents}}) do
    MyApp.Rag
    |> RagClient.process_documents(tenant, documents, idempotency_key: "oban-#{id}")
    |> RagClient.Oban.result()
  end
end
