defmodule RagClient.Call do
  @moduledoc "One thing asked of the service: a command with its params, and how it is to be sent."

  alias RagClient.TraceContext

  @type t :: %__MODULE__{
          command: String.t(),
          params: map,
          tenant: String.t() | nil,
          request_id: String.t(),
          deadline_ms: pos_integer | nil,
          idempotency_key: String.t() | nil,
          traceparent: String.t() | nil,
          tracestate: String.t() | nil,
          upload: RagClient.Upload.t() | nil,
          streams?: boolean
        }

  @enforce_keys [:command, :params, :request_id]
  defstruct [
    :command,
    :params,
    :tenant,
    :request_id,
    :deadline_ms,
    :idempotency_key,
    :traceparent,
    :tracestate,
    :upload,
    streams?: false
  ]

  @sent_with [:tenant, :request_id, :deadline_ms, :idempotency_key, :traceparent]

  @doc """
  `options` may hold `:tenant`, `:request_id` (else one is made), `:deadline_ms`, `:idempotency_key`, `:traceparent`
  (else it and `tracestate` are those of the calling process's trace) and `:upload`, the files of the request.

  Raises ArgumentError for what cannot be a header's value.
  """
  @spec new(String.t(), map, keyword) :: t
  def new(command, params, options) do
    sent_with = for {name, value} <- Keyword.take(options, @sent_with), value != nil, do: {name, checked(name, value)}
    {traceparent, tracestate} = TraceContext.current()

    made = [
      command: command,
      params: params,
      streams?: Keyword.get(options, :streams?, false),
      upload: options[:upload],
      request_id: request_id(),
      traceparent: traceparent,
      tracestate: if(Keyword.has_key?(sent_with, :traceparent), do: nil, else: tracestate)
    ]

    struct!(__MODULE__, Keyword.merge(made, sent_with))
  end

  defp checked(:deadline_ms, value) when is_integer(value) and value > 0, do: value

  defp checked(:traceparent, value) do
    if TraceContext.valid?(value), do: value, else: wrong(:traceparent, value)
  end

  defp checked(name, value) when is_binary(value) and name != :deadline_ms do
    if value =~ ~r/\A[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?\z/, do: value, else: wrong(name, value)
  end

  defp checked(name, value), do: wrong(name, value)

  defp wrong(:deadline_ms, value),
    do: raise(ArgumentError, "deadline_ms must be a whole number of milliseconds above 0, not #{inspect(value)}")

  defp wrong(:traceparent, value),
    do: raise(ArgumentError, "traceparent must be as W3C Trace Context writes it, not #{inspect(value)}")

  defp wrong(name, value),
    do: raise(ArgumentError, "#{name} must be a string of printable ASCII characters, not #{inspect(value)}")

  defp request_id, do: Base.encode16(:crypto.strong_rand_bytes(16), case: :lower)
end
