# What RagClient.Webhook.Plug uses of Plug, which needs a package registry.

defmodule Plug.Conn do
  @moduledoc false
  defstruct method: "POST",
            path_info: [],
            req_headers: [],
            resp_headers: [],
            body: "",
            status: nil,
            resp_body: nil,
            halted: false

  @doc "The body if it is no longer than `length`; the first part of a longer one; nothing once it was read."
  def read_body(%{body: :gone}, _options), do: {:error, :closed}

  def read_body(%{body: body} = conn, options) do
    length = options[:length]

    case body do
      <<part::binary-size(length), rest::binary>> when rest != "" -> {:more, part, %{conn | body: rest}}
      _ -> {:ok, body, %{conn | body: ""}}
    end
  end

  def put_resp_header(conn, name, value), do: %{conn | resp_headers: [{name, value} | conn.resp_headers]}
  def put_resp_content_type(conn, type), do: put_resp_header(conn, "content-type", type <> "; charset=utf-8")
  def send_resp(%{status: nil} = conn, status, body), do: %{conn | status: status, resp_body: body}
  def halt(conn), do: %{conn | halted: true}
end
