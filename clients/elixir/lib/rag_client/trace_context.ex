defmodule RagClient.TraceContext do
  @moduledoc """
  The trace that a call belongs to, as the headers `traceparent` and `tracestate` of W3C Trace Context.

  A call is given the trace of the process that makes it where the application has `:opentelemetry_api`; nothing needs
  to be set up. The option `:traceparent` names another one, which goes without a `tracestate`.
  """

  @format ~r/\A[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\z/
  # As long as W3C Trace Context asks to hand on. A part of it would tell something else than the whole.
  @state_bytes 512
  @state_format ~r/\A[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?\z/

  @doc """
  `{traceparent, tracestate}` of the calling process, nil where it has none. A state that is no header's value, or of
  more than 512 bytes, is left out.
  """
  @spec current() :: {String.t() | nil, String.t() | nil}
  def current do
    # RagClient.Application has loaded the module if it is there: see RagClient.Telemetry.
    if function_exported?(:otel_propagator_text_map, :inject, 1) do
      found = apply(:otel_propagator_text_map, :inject, [[]])
      parent = find(found, "traceparent", &valid?/1)
      {parent, parent && find(found, "tracestate", &valid_state?/1)}
    else
      {nil, nil}
    end
  end

  defp find(headers, wanted, valid?),
    do: Enum.find_value(headers, fn {name, value} -> if name == wanted and valid?.(value), do: value end)

  defp valid_state?(value), do: is_binary(value) and byte_size(value) <= @state_bytes and value =~ @state_format

  @spec valid?(term) :: boolean
  def valid?(value), do: is_binary(value) and value =~ @format
end
