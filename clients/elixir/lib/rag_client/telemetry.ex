defmodule RagClient.Telemetry do
  @moduledoc """
  Events, where the application has `:telemetry`. None holds what was asked or answered.

  | event                                  | measurements                                       |
  |----------------------------------------|----------------------------------------------------|
  | `[:rag_client, :request, :start]`      | `system_time`                                       |
  | `[:rag_client, :request, :stop]`       | `duration`                                          |
  | `[:rag_client, :stream, :start]`       | `system_time`                                       |
  | `[:rag_client, :stream, :first_chunk]` | `duration`                                          |
  | `[:rag_client, :stream, :stop]`        | `duration`, `chunks`                                |

  Durations are in native time units. Metadata: `client`, `command`, `tenant`, `request_id`, `traceparent` (nil outside a
  trace) and `query_id`, the service's own name of a question, from its first message on (nil before, and of what is no
  question); on `:stop` also `outcome` (`:ok`, or the kind of the error) and `error` (`RagClient.Error` or nil).
  """

  @spec execute([atom], map, map) :: :ok
  def execute(event, measurements, metadata) do
    # To ask for a module that is not there takes half a millisecond, so RagClient.Application has loaded it if it is.
    if function_exported?(:telemetry, :execute, 3),
      do: apply(:telemetry, :execute, [[:rag_client | event], measurements, metadata])

    :ok
  end
end
