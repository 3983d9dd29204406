defmodule RagClient do
  @moduledoc """
  A client of the RAG inference service.

      children = [
        {RagClient, name: MyApp.Rag, url: "http://rag:8000", key: System.fetch_env!("RAG_API_KEY")}
      ]

      {:ok, answer} = RagClient.query(MyApp.Rag, "acme", "Koji je rok za žalbu?", user: "u1")
      answer.text

  Every call names the client, then the tenant: a platform key speaks for the one named; a tenant's own key takes `nil`.
  Three belong to no tenant: `cancel/1`, `health/2` and `list_tenants/2`. `RagClient.Config` lists what a client can be
  told.

  ## Ways to ask

    * `query/4` waits for the whole answer.
    * `stream/4` is an enumerable of events. The service is read only as fast as the enumerable is.
    * `query_async/4` returns at once; the calling process is sent `{:rag_client, ref, event}`. This is for processes
      that do other things meanwhile, such as a LiveView.

  An event is `{:sources, map}`, `{:chunk, map}`, `{:citation, map}`, and last `{:complete, map}` or
  `{:error, %RagClient.Error{}}`; the maps are the service's own JSON objects.

  The process that asked is watched. When it ends, its call ends, the connection is closed, and the service stops
  working on it, down to the engine.

  ## Options of a question

  `:language`, `:user`, `:collections`, `:filter`, `:top_k`, `:max_tokens`, `:temperature`, `:seed` and `:history` are
  the service's own. `:history` is the conversation so far, the oldest turn first: maps with `role`, which is `"user"`
  or `"assistant"`, and `content`. Searches have none.

  ## Options of every call

    * `:deadline_ms`: after so many milliseconds the service gives up, in whichever stage it is.
    * `:timeout`: after so many this client gives up. A stream has none unless it is given, only `idle_timeout`.
    * `:request_id`: the service logs it, and errors name it; else one is made.
    * `:traceparent`: the trace that the call belongs to, as W3C Trace Context writes it. Left out, it is that of the
      calling process, where the application has OpenTelemetry.
    * `:idempotency_key`, of what creates something and of questions: the same call again with the same key has no further
      effect, and gets the same answer.

  ## Lists

  A page is `{:ok, map}` with the list, and with `"next"`, which is the `:after` of the next page, or nil. `:limit` is the
  most of a page. The options of `list_documents/3` and `list_jobs/3` also select.
  """

  use Supervisor

  alias RagClient.{Answer, Calls, Config, Error, Exchange, Upload}

  @type client :: atom
  @type tenant :: String.t() | nil
  @type result :: {:ok, map} | {:error, Error.t()}

  @asking [:language, :user, :collections, :filter, :top_k, :max_tokens, :temperature, :seed, :history]
  @finding [:language, :user, :collections, :filter, :top_k]
  @selecting [:collection, :user, :live, :filter]
  @page [:after, :limit]
  @form [:id, :title, :collection, :language, :user, :metadata, :bulk]
  @sizes [:description, :chunk_tokens, :chunk_overlap]

  # -- the client as a child of a supervisor

  @doc "Start a client. The options are `RagClient.Config`'s."
  @spec start_link(keyword) :: Supervisor.on_start()
  def start_link(options) do
    config = Config.new(options)

    Supervisor.start_link(__MODULE__, config,
      name: {:via, Registry, {RagClient.Registry, {:client, config.name}, config}}
    )
  end

  @doc false
  def child_spec(options) do
    %{id: {__MODULE__, options[:name]}, start: {__MODULE__, :start_link, [options]}, type: :supervisor}
  end

  @impl true
  def init(config) do
    # Calls end before the transport that they may need to take leave.
    calls = {DynamicSupervisor, name: Exchange.supervisor(config.name), strategy: :one_for_one}
    Supervisor.init(config.transport.children(config) ++ [calls], strategy: :rest_for_one)
  end

  # -- asking

  @doc "Ask, and wait for the whole answer."
  @spec query(client, tenant, String.t(), keyword) :: {:ok, Answer.t()} | {:error, Error.t()}
  def query(client, tenant, text, options \\ []) do
    Enum.reduce_while(stream(client, tenant, text, options), {:error, nil}, fn
      {:error, error}, _ -> {:halt, {:error, error}}
      event, {_, answer} -> {:cont, {:ok, Answer.add(answer || %Answer{}, event)}}
    end)
  end

  @doc """
  Ask, and get the answer's events as a stream, the last of which is `{:complete, map}` or `{:error, error}`.

  The question is sent when the stream is first read, by the process that reads it. Leaving it early stops the answer.
  """
  @spec stream(client, tenant, String.t(), keyword) :: Enumerable.t()
  def stream(client, tenant, text, options \\ []) do
    call = question(tenant, text, options)
    Calls.stream(client, call, options)
  end

  @doc """
  Ask, and have the events sent to the calling process as `{:rag_client, ref, event}`.

    * `:batch_ms` puts together the chunks that come within so many milliseconds, for a process that does much for each,
      as a LiveView does. The first one is never delayed.
    * `:owner` names another process to send the events to, which is then the one that is watched.
    * `:to_message` is a function of the reference and an event that gives the message to send instead, or nil for none.
  """
  @spec query_async(client, tenant, String.t(), keyword) :: {:ok, reference} | {:error, Error.t()}
  def query_async(client, tenant, text, options \\ []) do
    {how, options} = Keyword.split(options, [:owner, :to_message, :batch_ms])
    call = question(tenant, text, options)

    if how[:batch_ms] != nil and how[:batch_ms] not in 1..10_000,
      do: raise(ArgumentError, "batch_ms must be 1 to 10,000")

    how = how |> Keyword.put(:mode, :push) |> Keyword.put(:timeout, options[:timeout] || :infinity)

    with {:ok, ref, _pid} <- Exchange.start(Calls.config(client), call, how[:owner] || self(), how), do: {:ok, ref}
  end

  @doc """
  Stop an answer that `query_async/4` began; it may have ended already.

  To the process that gets its events: when this returns, none is in its mailbox, and none will come. If another process
  cancels, the last event is an error of the kind `:cancelled`.
  """
  @spec cancel(reference) :: :ok
  def cancel(ref) when is_reference(ref) do
    Calls.cancel(ref)
  end

  @doc "Stop a query of the tenant by the service's own id, whoever asked it. Its stream ends as cancelled."
  @spec cancel_query(client, tenant, String.t(), keyword) :: result
  def cancel_query(client, tenant, query_id, options \\ []),
    do: Calls.run(client, tenant, "cancel_query", %{"query_id" => query_id}, options)

  @doc "Find passages without generating: best first, with each stage's score."
  @spec search(client, tenant, String.t(), keyword) :: result
  def search(client, tenant, text, options \\ []) do
    Calls.run(client, tenant, "search", %{"query" => text}, options, own: @finding, once?: true)
  end

  # -- documents

  @doc """
  Hand in documents: maps with `text` or `uri` and, as wanted, `id`, `title`, `collection`, `language`, `user`,
  `metadata`.

  All are accepted, or none. The service has them on disk when this returns, and the result names the job to follow
  (`get_job/4`, `job_events/4`). With `async: false` it is the finished job, so give a `:timeout` that suits. With
  `bulk: true` the whole cluster works on them.
  """
  @spec process_documents(client, tenant, [map], keyword) :: result
  def process_documents(client, tenant, documents, options \\ []) do
    params = %{"documents" => documents}
    Calls.run(client, tenant, "process_documents", params, options, own: [:async, :bulk], once?: true)
  end

  @doc """
  Hand in files from disk: paths, or `{path, name}` for another name than the file's. They are read as they are sent.

  Options are those of the documents, for all of them: `:collection`, `:language`, `:user`, `:metadata`, `:bulk`, and for
  a single file `:id` and `:title`. The result is that of `process_documents/4`. A large upload needs a `:timeout` that
  suits. Files go over HTTP only, not through `RagClient.Transport.Port`.
  """
  @spec upload_documents(client, tenant, [Path.t() | {Path.t(), String.t()}], keyword) :: result
  def upload_documents(client, tenant, files, options \\ []) do
    {fields, options} = Calls.split(options, @form, true)

    with {:ok, upload} <- Upload.new(files, fields, Calls.config(client).json),
         do: Calls.send_upload(client, tenant, upload, options)
  end

  @doc "A page of the tenant's documents. Options: `:collection`, `:user`, `:live`, `:filter`, `:after`, `:limit`."
  @spec list_documents(client, tenant, keyword) :: result
  def list_documents(client, tenant, options \\ []),
    do: Calls.run(client, tenant, "list_documents", %{}, options, own: @selecting ++ @page)

  @doc "A document as searches see it."
  @spec get_document(client, tenant, String.t(), keyword) :: result
  def get_document(client, tenant, id, options \\ []),
    do: Calls.run(client, tenant, "get_document", %{"document_id" => id}, options)

  @doc "Change a document's metadata by a map to merge, in which nil removes a key. Nothing is embedded again."
  @spec update_document(client, tenant, String.t(), map, keyword) :: result
  def update_document(client, tenant, id, metadata, options \\ []) do
    Calls.run(client, tenant, "update_document", %{"document_id" => id, "metadata" => metadata}, options)
  end

  @doc "Remove a document and all that was made of it."
  @spec delete_document(client, tenant, String.t(), keyword) :: result
  def delete_document(client, tenant, id, options \\ []),
    do: Calls.run(client, tenant, "delete_document", %{"document_id" => id}, options)

  @doc """
  Remove all documents that match `:collection`, `:user`, `:live` and `:filter`. What would be all of them needs
  `all: true`.

  `"more"` in the result says that the deadline came first: call again.
  """
  @spec delete_documents(client, tenant, keyword) :: result
  def delete_documents(client, tenant, options \\ []),
    do: Calls.run(client, tenant, "delete_documents", %{}, options, own: [:all | @selecting])

  @doc "How many of the tenant's documents were made by another embedder, or cut otherwise, than they would be now."
  @spec get_index(client, tenant, keyword) :: result
  def get_index(client, tenant, options \\ []), do: Calls.run(client, tenant, "get_index", %{}, options)

  @doc "Make all documents' passages again; the result names the job. Options: `:collection`, `:bulk`."
  @spec reindex(client, tenant, keyword) :: result
  def reindex(client, tenant, options \\ []),
    do: Calls.run(client, tenant, "reindex", %{}, options, own: [:collection, :bulk], once?: true)

  # -- jobs

  @doc "A page of the documents that failed, those handed in last first. Options: `:error`, `:job_id`, `:after`, `:limit`."
  @spec list_failures(client, tenant, keyword) :: result
  def list_failures(client, tenant, options \\ []),
    do: Calls.run(client, tenant, "list_failures", %{}, options, own: [:error, :job_id | @page])

  @doc "A page of the tenant's jobs, the newest first. Options: `:state`, `:after`, `:limit`."
  @spec list_jobs(client, tenant, keyword) :: result
  def list_jobs(client, tenant, options \\ []),
    do: Calls.run(client, tenant, "list_jobs", %{}, options, own: [:state | @page])

  @doc "A job's state, counts, and each document's error."
  @spec get_job(client, tenant, String.t(), keyword) :: result
  def get_job(client, tenant, id, options \\ []), do: Calls.run(client, tenant, "get_job", %{"job_id" => id}, options)

  @doc """
  A job's events as a stream: the job now and with each change as `{:progress, map}`, last `{:complete, map}` or
  `{:error, error}`.

  The service ends a stream after a quarter of an hour. It then ends with a `retryable?` error: follow the job again.
  Events come over HTTP only, not through `RagClient.Transport.Port`.
  """
  @spec job_events(client, tenant, String.t(), keyword) :: Enumerable.t()
  def job_events(client, tenant, id, options \\ []) do
    {%{}, options} = Calls.split(options, [])
    call = Calls.call(tenant, "job_events", %{"job_id" => id}, [{:streams?, true} | options])
    Calls.stream(client, call, options)
  end

  @doc "End a job: what waits is cancelled at once, what is being worked on within seconds. What is indexed stays."
  @spec cancel_job(client, tenant, String.t(), keyword) :: result
  def cancel_job(client, tenant, id, options \\ []),
    do: Calls.run(client, tenant, "cancel_job", %{"job_id" => id}, options)

  @doc "Have a job's failed documents worked on again, in a new job: its id, and `\"left_out\"`."
  @spec retry_job(client, tenant, String.t(), keyword) :: result
  def retry_job(client, tenant, id, options \\ []),
    do: Calls.run(client, tenant, "retry_job", %{"job_id" => id}, options, once?: true)

  # -- collections

  @doc "Make an empty collection. Options: `:description`, `:chunk_tokens`, `:chunk_overlap`."
  @spec create_collection(client, tenant, String.t(), keyword) :: result
  def create_collection(client, tenant, name, options \\ []),
    do: collections(client, tenant, "create", %{"name" => name}, options, own: @sizes, once?: true)

  @doc "A page of the tenant's collections. Options: `:after`, `:limit`."
  @spec list_collections(client, tenant, keyword) :: result
  def list_collections(client, tenant, options \\ []),
    do: collections(client, tenant, "list", %{}, options, own: @page)

  @doc "A collection, and how many documents and passages it holds."
  @spec get_collection(client, tenant, String.t(), keyword) :: result
  def get_collection(client, tenant, name, options \\ []),
    do: collections(client, tenant, "get", %{"name" => name}, options)

  @doc "Change a collection. Options: `:description`, `:chunk_tokens`, `:chunk_overlap`."
  @spec update_collection(client, tenant, String.t(), keyword) :: result
  def update_collection(client, tenant, name, options),
    do: collections(client, tenant, "update", %{"name" => name}, options, own: @sizes)

  @doc "Remove a collection with all its documents."
  @spec delete_collection(client, tenant, String.t(), keyword) :: result
  def delete_collection(client, tenant, name, options \\ []),
    do: collections(client, tenant, "delete", %{"name" => name}, options)

  # -- keys

  @doc "Make a key of the tenant; its `\"secret\"` is shown this once. Options: `:name`, `:role`, `:expires_at`."
  @spec create_key(client, tenant, keyword) :: result
  def create_key(client, tenant, options \\ []),
    do: keys(client, tenant, "create", %{}, options, own: [:name, :role, :expires_at], once?: true)

  @doc "The tenant's keys, the oldest first, those that have ended too."
  @spec list_keys(client, tenant, keyword) :: result
  def list_keys(client, tenant, options \\ []), do: keys(client, tenant, "list", %{}, options)

  @doc "A successor of a key. Both work for `:overlap_s` seconds more."
  @spec rotate_key(client, tenant, String.t(), keyword) :: result
  def rotate_key(client, tenant, id, options \\ []),
    do: keys(client, tenant, "rotate", %{"key_id" => id}, options, own: [:overlap_s], once?: true)

  @doc "End a key: within five seconds it is refused."
  @spec revoke_key(client, tenant, String.t(), keyword) :: result
  def revoke_key(client, tenant, id, options \\ []), do: keys(client, tenant, "revoke", %{"key_id" => id}, options)

  # -- tenants, with a platform key

  @doc "Make a tenant. Options: `:name`, `:settings`."
  @spec create_tenant(client, String.t(), keyword) :: result
  def create_tenant(client, tenant, options \\ []),
    do: Calls.run(client, tenant, "create_tenant", %{}, options, own: [:name, :settings], once?: true)

  @doc "A page of all tenants. Options: `:after`, `:limit`."
  @spec list_tenants(client, keyword) :: result
  def list_tenants(client, options \\ []), do: Calls.run(client, nil, "list_tenants", %{}, options, own: @page)

  @doc "A tenant's state and settings."
  @spec get_tenant(client, String.t(), keyword) :: result
  def get_tenant(client, tenant, options \\ []), do: Calls.run(client, tenant, "get_tenant", %{}, options)

  @doc "Change a tenant. Options: `:name`, `:settings` (a map to merge, in which nil resets), `:suspended`."
  @spec update_tenant(client, String.t(), keyword) :: result
  def update_tenant(client, tenant, options),
    do: Calls.run(client, tenant, "update_tenant", %{}, options, own: [:name, :settings, :suspended])

  @doc "Remove a tenant with all that belongs to it. What fails halfway is taken up by the same call again."
  @spec delete_tenant(client, String.t(), keyword) :: result
  def delete_tenant(client, tenant, options \\ []), do: Calls.run(client, tenant, "delete_tenant", %{}, options)

  # -- everything else

  @doc "Whether the service is ready (`\"ready\"`), and each stage's state. A service that is not ready is no error."
  @spec health(client, keyword) :: result
  def health(client, options \\ []), do: Calls.run(client, nil, "health", %{}, options)

  @doc "Any command of the service by its name, for those that have no function here."
  @spec command(client, tenant, String.t(), map, keyword) :: result
  def command(client, tenant, command, params, options \\ []),
    do: Calls.run(client, tenant, command, Map.new(params), options, once?: true)

  # -- how

  defp collections(client, tenant, action, params, options, rules \\ []),
    do: Calls.run(client, tenant, "manage_collections", Map.put(params, "action", action), options, rules)

  defp keys(client, tenant, action, params, options, rules \\ []),
    do: Calls.run(client, tenant, "manage_keys", Map.put(params, "action", action), options, rules)

  defp question(tenant, text, options) do
    {params, options} = Calls.split(options, @asking, true)
    params = params |> Map.put("query", text) |> Map.put("stream", true)
    Calls.call(tenant, "query", params, [{:streams?, true} | options])
  end
end
