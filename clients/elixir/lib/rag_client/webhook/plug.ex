defmodule RagClient.Webhook.Plug do
  @moduledoc """
  A plug that receives the service's webhooks. Put it into the endpoint before `Plug.Parsers`, which would read the body:

      plug RagClient.Webhook.Plug,
        at: "/hooks/rag",
        secret: {System, :fetch_env!, ["RAG_WEBHOOK_SECRET"]},
        handler: {MyApp.Hooks, :job_ended, []}

  | option        | default    |                                                                                        |
  |---------------|------------|----------------------------------------------------------------------------------------|
  | `at`          | required   | the path; other requests pass                                                          |
  | `secret`      | required   | `whsec_…`, a list of them, or `{module, function, arguments}` that gives either, asked for each message |
  | `handler`     | required   | `{module, function, arguments}`, called with the message and the `webhook-id` in front of the arguments |
  | `max_bytes`   | 1 MiB      | of a body; a larger one is answered 413                                                |
  | `tolerance_s` | 300        | how far a message's time may be off                                                     |
  | `json`        | the first that is there | see `RagClient.JSON`                                                       |

  The body's bytes are verified as they came. A message that is not the service's is answered 401, and the handler is not
  called. The handler returns `:ok` or `{:ok, term}`, which is answered 204, or `{:error, term}`, which is answered 500:
  the service then sends it again, for 30 hours. It may also send one twice that was taken, with the same id. A handler
  that does much should only note the message, for example as an Oban job that is unique by the id.
  """

  # Plug itself is the application's. It is no dependency: see mix.exs. So there is no `@behaviour Plug`.
  @compile {:no_warn_undefined, Plug.Conn}

  require Logger

  alias RagClient.Webhook

  @max_bytes 1024 * 1024
  @known [:at, :secret, :handler, :max_bytes, :tolerance_s, :json]

  @doc "Raises ArgumentError naming the option."
  @spec init(keyword) :: map
  def init(options) do
    for {option, _} <- options, option not in @known do
      raise ArgumentError, "#{inspect(__MODULE__)}: unknown option #{inspect(option)}; there is #{inspect(@known)}"
    end

    for option <- [:at, :secret, :handler], options[option] in [nil, ""] do
      raise ArgumentError, "#{inspect(__MODULE__)}: #{inspect(option)} is required"
    end

    unless match?(
             {module, function, arguments} when is_atom(module) and is_atom(function) and is_list(arguments),
             options[:handler]
           ),
           do: raise(ArgumentError, "#{inspect(__MODULE__)}: :handler must be {module, function, arguments}")

    options |> Map.new() |> Map.put_new(:max_bytes, @max_bytes) |> Map.update!(:at, &path/1)
  end

  @spec call(map, map) :: struct
  def call(%{path_info: path, method: "POST"} = conn, %{at: path} = options) do
    case Plug.Conn.read_body(conn, length: options.max_bytes) do
      {:ok, body, conn} -> received(conn, body, options)
      {:more, _, conn} -> answer(conn, 413, "the message is larger than #{options.max_bytes} bytes")
      {:error, _} -> answer(conn, 400, "the body did not come whole")
    end
  end

  def call(%{path_info: path} = conn, %{at: path}) do
    conn |> Plug.Conn.put_resp_header("allow", "POST") |> answer(405, "send a message with POST")
  end

  def call(conn, _options), do: conn

  defp received(conn, body, options) do
    further = options |> Map.take([:tolerance_s, :json]) |> Map.to_list()

    case Webhook.verify(body, conn.req_headers, secret(options.secret), further) do
      {:ok, message} -> handled(conn, message, options.handler)
      {:error, reason} -> answer(conn, 401, "the message cannot be verified: #{reason}")
    end
  end

  defp secret({module, function, arguments}), do: apply(module, function, arguments)
  defp secret(secret), do: secret

  defp handled(conn, message, {module, function, arguments}) do
    {_, id} = List.keyfind(conn.req_headers, "webhook-id", 0)

    case apply(module, function, [message, id | arguments]) do
      :ok ->
        answer(conn, 204, "")

      {:ok, _} ->
        answer(conn, 204, "")

      {:error, reason} ->
        Logger.error("RagClient: the message #{id} was not handled: #{inspect(reason)}")
        answer(conn, 500, "the message was not handled; send it again")
    end
  end

  defp answer(conn, status, text) do
    conn |> Plug.Conn.put_resp_content_type("text/plain") |> Plug.Conn.send_resp(status, text) |> Plug.Conn.halt()
  end

  defp path(path), do: String.split(path, "/", trim: true)
end
