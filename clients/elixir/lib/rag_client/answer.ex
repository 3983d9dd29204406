defmodule RagClient.Answer do
  @moduledoc """
  A whole answer: what a stream's messages come to. `sources` and `citations` are as on the wire.

  `confidence` is the probability, from 0 to 1, that the answer answers the question; nil if the engine cannot tell.
  `grounding` counts the statements that their sources support; nil if answers are not checked. Each citation has the
  `status` of its statement, and no `sources` if that cites none.
  """

  @type t :: %__MODULE__{
          query_id: String.t(),
          text: String.t(),
          sources: [map],
          citations: [map],
          usage: map,
          timings: map,
          degraded: [String.t()],
          finish_reason: String.t(),
          engine: String.t(),
          model: String.t() | nil,
          confidence: float | nil,
          grounding: map | nil
        }

  defstruct [
    :query_id,
    :finish_reason,
    :engine,
    :model,
    :confidence,
    :grounding,
    text: "",
    sources: [],
    citations: [],
    usage: %{},
    timings: %{},
    degraded: []
  ]

  @doc "Add an event of the stream, in the order in which they come."
  @spec add(t, {atom, map}) :: t
  def add(answer, {:sources, %{"sources" => sources} = message}),
    do: %{answer | sources: sources, query_id: message["query_id"]}

  def add(answer, {:chunk, %{"content" => content}}), do: %{answer | text: answer.text <> content}

  def add(answer, {:citation, citation}),
    do: %{answer | citations: answer.citations ++ [Map.take(citation, ["sources", "start", "end", "status"])]}

  def add(answer, {:complete, complete}) do
    %{
      answer
      | query_id: complete["query_id"],
        usage: complete["usage"] || %{},
        timings: complete["timings"] || %{},
        degraded: complete["degraded"] || [],
        finish_reason: complete["finish_reason"],
        engine: complete["engine"],
        model: complete["model"],
        confidence: complete["confidence"],
        grounding: complete["grounding"]
    }
  end
end
