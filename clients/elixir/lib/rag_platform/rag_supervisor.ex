defmodule RagPlatform.RagSupervisor do
  @moduledoc """
  The platform's original interface, on `RagClient`: code written for the GenServer with a Python Port runs unchanged.

      children = [{RagPlatform.RagSupervisor, url: "http://rag:8000", key: System.fetch_env!("RAG_API_KEY")}]

      RagPlatform.RagSupervisor.query_async("acme", "u1", "Koji je rok za žalbu?")
      # the calling process is sent
      #   {:rag_response_sources, sources}     once, before the first chunk
      #   {:rag_response_chunk, chunk}         the answer's text, piece by piece
      #   {:rag_response_complete, complete}   or
      #   {:rag_response_error, error}         once, last

  The options are those of `RagClient.Config` but the name. To keep the Port itself, add
  `transport: RagClient.Transport.Port`.
  """

  @client __MODULE__.Client

  @doc "The name under which the client of this supervisor can be used with `RagClient`'s functions."
  @spec client() :: atom
  def client, do: @client

  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(options), do: %{id: __MODULE__, start: {__MODULE__, :start_link, [options]}, type: :supervisor}

  @spec start_link(keyword) :: Supervisor.on_start()
  def start_link(options) do
    Supervisor.start_link([{RagClient, [{:name, @client} | options]}], strategy: :one_for_one, name: __MODULE__)
  end

  @doc "Ask for a user of a tenant; the answer comes as messages. The reference is for `cancel/1`."
  @spec query_async(String.t(), String.t() | nil, String.t(), keyword) ::
          {:ok, reference} | {:error, RagClient.Error.t()}
  def query_async(tenant, user, text, options \\ []) do
    RagClient.query_async(@client, tenant, text, [{:user, user}, {:to_message, &message/2} | options])
  end

  @doc "Stop an answer. Chunks that were sent already stay in the mailbox."
  @spec cancel(reference) :: :ok
  def cancel(ref), do: RagClient.cancel(ref)

  @spec process_documents(String.t(), [map], keyword) :: RagClient.result()
  def process_documents(tenant, documents, options \\ []),
    do: RagClient.process_documents(@client, tenant, documents, options)

  defp message(_ref, {:sources, %{"sources" => sources}}), do: {:rag_response_sources, sources}
  defp message(_ref, {:chunk, %{"content" => chunk}}), do: {:rag_response_chunk, chunk}
  defp message(_ref, {:complete, complete}), do: {:rag_response_complete, complete}
  defp message(_ref, {:error, error}), do: {:rag_response_error, error}
  defp message(_ref, {:citation, _}), do: nil
end
