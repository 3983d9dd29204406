defmodule RagClient.TraceContext do
  @moduledoc """
  The trace that a call belongs to, as the header `traceparent` of W3C Trace Context.

  A call is given the trace of the process that makes it where the application has `:opentelemetry_api`; nothing needs
  to be set up. The option `:traceparent` names another one.
  """

  @format ~r/\A[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\z/

  @doc "That of the calling process; nil where it has none."
  @spec current() :: String.t() | nil
  def current do
    # RagClient.Application has loaded the module if it is there: see RagClient.Telemetry.
    if function_exported?(:otel_propagator_text_map, :inject, 1) do
      found = apply(:otel_propagator_text_map, :inject, [[]])
      Enum.find_value(found, fn {name, value} -> name == "traceparent" and valid?(value) and value end) || nil
    end
  end

  @spec valid?(term) :: boolean
  def valid?(value), do: is_binary(value) and value =~ @format
end
