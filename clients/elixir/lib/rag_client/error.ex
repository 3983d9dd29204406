defmodule RagClient.Error do
  @moduledoc """
  Why a call did not succeed. An exception, so that it can be raised; the client itself only returns it.

  | kind         | what happened                                                                             |
  |--------------|-------------------------------------------------------------------------------------------|
  | `:transport` | no connection, or it broke off before the answer's end                                      |
  | `:timeout`   | nothing came for longer than the client waits                                               |
  | `:http`      | the service refused the request; `status`, `code` and `request_id` are its own              |
  | `:server`    | the service accepted the request and then reported an error in the answer                   |
  | `:protocol`  | what came is not what this service sends, or the request cannot be sent as it is            |
  | `:cancelled` | somebody called `RagClient.cancel/1`, or the client was stopped                             |

  `code` is the service's (`"overloaded"`, `"unknown_collection"`, …; its page `/errors/<code>` explains it).
  `retryable?` tells whether the same call may succeed later; `retry_after` is in seconds, where the service named a time.
  """

  @type kind :: :transport | :timeout | :http | :protocol | :server | :cancelled
  @type t :: %__MODULE__{
          kind: kind,
          message: String.t(),
          status: pos_integer | nil,
          code: String.t() | nil,
          retry_after: number | nil,
          request_id: String.t() | nil,
          query_id: String.t() | nil,
          retryable?: boolean
        }

  @enforce_keys [:kind, :message]
  defexception [:kind, :message, :status, :code, :retry_after, :request_id, :query_id, retryable?: false]

  @kinds_of_the_bridge %{
    "unreachable" => :transport,
    "connection_lost" => :transport,
    "timeout" => :timeout,
    "cancelled" => :cancelled,
    "bad_frame" => :protocol,
    "bad_answer" => :protocol,
    "frame_too_large" => :protocol,
    "duplicate_id" => :protocol
  }

  @doc "The connection failed; `reason` as `:inet` and `:ssl` give it."
  @spec transport(String.t(), term) :: t
  def transport(doing, reason) do
    %__MODULE__{kind: :transport, message: "#{doing}: #{explain(reason)}", retryable?: true}
  end

  @spec timeout(String.t()) :: t
  def timeout(message), do: %__MODULE__{kind: :timeout, message: message, retryable?: true}

  @spec protocol(String.t()) :: t
  def protocol(message), do: %__MODULE__{kind: :protocol, message: message}

  @spec cancelled() :: t
  def cancelled, do: %__MODULE__{kind: :cancelled, message: "cancelled"}

  @doc """
  From a refusal: its status, its headers (names in lower case) and its body, decoded if it was JSON.

  A proxy's page in between has no `code`; 429 and 5xx other than 501 are retryable then.
  """
  @spec from_response(pos_integer, [{String.t(), String.t()}], term) :: t
  def from_response(status, headers, body) do
    problem = if is_map(body), do: body, else: %{}
    title = text(problem["title"]) || "the service answered #{status}"
    detail = text(problem["detail"])

    %__MODULE__{
      kind: :http,
      status: status,
      code: text(problem["code"]),
      message: if(detail, do: "#{title}: #{detail}", else: title),
      retryable?: boolean(problem["retryable"], status == 429 or (status >= 500 and status != 501)),
      retry_after: seconds(List.keyfind(headers, "retry-after", 0)),
      request_id: text(problem["request_id"]) || header(headers, "x-request-id")
    }
  end

  @doc "From a message of type `error`: of a stream, of a command, or of the bridge (which adds a refusal's status)."
  @spec from_message(map) :: t
  def from_message(message) do
    status = if is_integer(message["status"]), do: message["status"]
    code = text(message["code"])

    %__MODULE__{
      kind: if(status, do: :http, else: Map.get(@kinds_of_the_bridge, code, :server)),
      status: status,
      code: code,
      message: text(message["error"]) || "the service reported an error and did not say which",
      retryable?: boolean(message["retryable"], false),
      retry_after: if(is_number(message["retry_after"]), do: message["retry_after"]),
      request_id: text(message["request_id"]),
      query_id: text(message["query_id"])
    }
  end

  defp explain({:tls_alert, {alert, _}}), do: "TLS: #{alert}"
  defp explain({:options, reason}), do: "TLS options: #{inspect(reason)}"
  defp explain(reason) when is_binary(reason), do: reason
  defp explain(:closed), do: "the connection was closed"
  defp explain(:timeout), do: "no answer in time"

  defp explain(reason) when is_atom(reason) do
    case to_string(:inet.format_error(reason)) do
      "unknown POSIX error" <> _ -> to_string(reason)
      text -> text
    end
  end

  defp explain(reason), do: inspect(reason)

  defp text(value) when is_binary(value), do: value
  defp text(_), do: nil

  defp boolean(value, _default) when is_boolean(value), do: value
  defp boolean(_, default), do: default

  defp header(headers, name) do
    with {_, value} <- List.keyfind(headers, name, 0), do: value
  end

  # Retry-After may also be a date, which this service never sends.
  defp seconds({_, value}) do
    case Integer.parse(value) do
      {seconds, ""} when seconds >= 0 -> seconds
      _ -> nil
    end
  end

  defp seconds(nil), do: nil
end
