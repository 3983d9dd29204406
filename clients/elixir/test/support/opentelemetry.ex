defmodule :otel_propagator_text_map do
  @moduledoc "Stands in for OpenTelemetry's propagator: adds what the test has set for its process."

  def put_current(traceparent), do: Process.put(__MODULE__, traceparent)

  def inject(carrier) do
    case Process.get(__MODULE__) do
      nil -> carrier
      traceparent -> [{"tracestate", "x=y"}, {"traceparent", traceparent} | carrier]
    end
  end
end
