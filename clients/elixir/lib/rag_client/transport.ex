defmodule RagClient.Transport do
  @moduledoc """
  How a call travels to the service. Its functions run in the call's own process, which owns what they open, so that
  the connection ends when that process does.

  A message of the service is `{type, map}`: `:sources`, `:chunk`, `:citation`, `:progress`, `:complete` and `:result`
  with the decoded object. `:alive` is a sign of life that says nothing. A type that this client does not know counts as that.
  """

  alias RagClient.{Call, Config, Error}

  @type state :: term
  @type message :: {:sources | :chunk | :citation | :progress | :complete | :result, map} | :alive

  @doc "Processes that the transport needs beside the calls."
  @callback children(Config.t()) :: [Supervisor.child_spec() | {module, term}]

  @doc "Connect and send the request."
  @callback open(Config.t(), Call.t()) :: {:ok, state} | {:error, Error.t()}

  @doc "Let the next piece of the answer come as a message to this process."
  @callback demand(state) :: state

  @doc """
  What a message to this process means. `:end` is the answer's end; an error comes after the messages read before it.
  """
  @callback handle(state, term) ::
              {:ok, [message], state} | {:end, [message]} | {:error, [message], Error.t()} | :unknown

  @doc "Close the answer; the service stops working on it if it has not ended."
  @callback close(state) :: :ok

  @types %{
    "sources" => :sources,
    "chunk" => :chunk,
    "citation" => :citation,
    "progress" => :progress,
    "complete" => :complete,
    "result" => :result
  }

  @doc "A decoded message as the transports give it; `{:error, error}` for one of type `error`."
  @spec message(term) :: {:ok, message} | {:error, Error.t()}
  def message(%{"type" => "error"} = message), do: {:error, Error.from_message(message)}

  def message(%{"type" => type} = message) do
    case @types do
      %{^type => known} -> {:ok, {known, message}}
      _ -> {:ok, :alive}
    end
  end

  def message(_), do: {:error, Error.protocol("the service sent a message without a type")}
end
