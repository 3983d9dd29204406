defmodule RagClient.Call do
  @moduledoc "One thing asked of the service: a command with its params, and how it is to be sent."

  @type t :: %__MODULE__{
          command: String.t(),
          params: map,
          tenant: String.t() | nil,
          request_id: String.t(),
          deadline_ms: pos_integer | nil,
          idempotency_key: String.t() | nil,
          streams?: boolean
        }

  @enforce_keys [:command, :params, :request_id]
  defstruct [:command, :params, :tenant, :request_id, :deadline_ms, :idempotency_key, streams?: false]

  @sent_with [:tenant, :request_id, :deadline_ms, :idempotency_key]

  @doc """
  `options` may hold `:tenant`, `:request_id` (else one is made), `:deadline_ms` and `:idempotency_key`.

  Raises ArgumentError for what cannot be a header's value.
  """
  @spec new(String.t(), map, keyword) :: t
  def new(command, params, options) do
    sent_with = for {name, value} <- Keyword.take(options, @sent_with), value != nil, do: {name, checked(name, value)}

    made = [
      command: command,
      params: params,
      streams?: Keyword.get(options, :streams?, false),
      request_id: request_id()
    ]

    struct!(__MODULE__, Keyword.merge(made, sent_with))
  end

  defp checked(:deadline_ms, value) when is_integer(value) and value > 0, do: value

  defp checked(name, value) when is_binary(value) and name != :deadline_ms do
    if value =~ ~r/\A[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?\z/, do: value, else: wrong(name, value)
  end

  defp checked(name, value), do: wrong(name, value)

  defp wrong(:deadline_ms, value),
    do: raise(ArgumentError, "deadline_ms must be a whole number of milliseconds above 0, not #{inspect(value)}")

  defp wrong(name, value),
    do: raise(ArgumentError, "#{name} must be a string of printable ASCII characters, not #{inspect(value)}")

  defp request_id, do: Base.encode16(:crypto.strong_rand_bytes(16), case: :lower)
end
