defmodule RagClient.Oban do
  @moduledoc """
  What a call came to, as an Oban worker's `perform/1` returns it.

      def perform(%Oban.Job{args: args, id: id}) do
        MyApp.Rag
        |> RagClient.process_documents(args["tenant"], args["documents"], idempotency_key: "oban-\#{id}")
        |> RagClient.Oban.result()
      end

  | result                                    | Oban                       |                                                |
  |-------------------------------------------|----------------------------|------------------------------------------------|
  | success                                   | `:ok`                      |                                                |
  | 429, 503, and "overloaded" as a message   | `{:snooze, seconds}`       | the service's `Retry-After`, else 5 s; no attempt is spent |
  | any other refusal of the request (4xx)    | `{:cancel, reason}`        | the same job would be refused again            |
  | no connection, a time-out, 5xx            | `{:error, reason}`         | Oban tries again with its own back-off         |
  """

  alias RagClient.Error

  @snooze_s 5
  @busy ["overloaded", "stage_unavailable", "unavailable", "request_in_progress"]

  @spec result({:ok, term} | {:error, Error.t()}) ::
          :ok | {:snooze, pos_integer} | {:cancel, String.t()} | {:error, String.t()}
  def result({:ok, _}), do: :ok

  def result({:error, %Error{status: status} = error}) when status in [429, 503], do: snooze(error)
  def result({:error, %Error{status: 409, retryable?: true} = error}), do: snooze(error)
  def result({:error, %Error{kind: :server, code: code} = error}) when code in @busy, do: snooze(error)
  def result({:error, %Error{retryable?: true} = error}), do: {:error, reason(error)}
  def result({:error, %Error{status: status} = error}) when status in 400..499, do: {:cancel, reason(error)}
  def result({:error, %Error{kind: :server, code: "internal_error"} = error}), do: {:error, reason(error)}
  def result({:error, %Error{kind: :server} = error}), do: {:cancel, reason(error)}
  def result({:error, %Error{} = error}), do: {:error, reason(error)}

  defp snooze(error), do: {:snooze, max(ceil(error.retry_after || @snooze_s), 1)}

  defp reason(%Error{code: nil} = error), do: error.message
  defp reason(error), do: "#{error.code}: #{error.message}"
end
