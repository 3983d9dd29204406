defmodule RagClient.Upload do
  @moduledoc false
  # Files on disk as the body of a form. A file is read while it is sent, a piece at a time, so that its size does not
  # matter here.

  alias RagClient.{Error, JSON}

  @piece_bytes 64 * 1024

  @type t :: %__MODULE__{boundary: String.t(), parts: [binary | {Path.t(), non_neg_integer}], bytes: non_neg_integer}

  @enforce_keys [:boundary, :parts, :bytes]
  defstruct [:boundary, :parts, :bytes]

  @doc """
  `files` are paths, or `{path, name}`; `fields` go with them, as text or, what is neither that nor a number, as JSON.
  """
  @spec new([Path.t() | {Path.t(), String.t()}], map, module) :: {:ok, t} | {:error, Error.t()}
  def new([], _fields, _json), do: {:error, Error.protocol("there is no file to upload")}

  def new(files, fields, json) when is_list(files) do
    boundary = "rag-client-" <> Base.encode16(:crypto.strong_rand_bytes(16), case: :lower)

    with {:ok, fields} <- each(fields, &field(&1, boundary, json)),
         {:ok, files} <- each(files, &file(&1, boundary)) do
      parts = fields ++ List.flatten(files) ++ ["--#{boundary}--\r\n"]
      {:ok, %__MODULE__{boundary: boundary, parts: parts, bytes: parts |> Enum.map(&bytes/1) |> Enum.sum()}}
    end
  end

  @doc "Hand the body's pieces to a function, until it gives an error. `{:error, {path, why}}` is of a file."
  @spec send_to(t, (iodata -> :ok | {:error, term})) :: :ok | {:error, term}
  def send_to(upload, send), do: all(upload.parts, &send_part(&1, send))

  defp send_part({path, size}, send) do
    case File.open(path, [:read, :raw, :binary], &send_file(&1, path, size, send)) do
      {:ok, sent} -> sent
      {:error, reason} -> {:error, {path, :file.format_error(reason)}}
    end
  end

  defp send_part(text, send), do: send.(text)

  defp send_file(_file, _path, 0, _send), do: :ok

  defp send_file(file, path, left, send) do
    case :file.read(file, min(left, @piece_bytes)) do
      {:ok, bytes} ->
        with :ok <- send.(bytes), do: send_file(file, path, left - byte_size(bytes), send)

      :eof ->
        {:error, {path, "it became shorter while it was sent"}}

      {:error, reason} ->
        {:error, {path, :file.format_error(reason)}}
    end
  end

  defp field({name, value}, boundary, json) do
    with {:ok, text} <- text(value, json),
         do: {:ok, "--#{boundary}\r\ncontent-disposition: form-data; name=\"#{name}\"\r\n\r\n#{text}\r\n"}
  end

  defp text(value, _json) when is_binary(value), do: {:ok, value}
  defp text(value, _json) when is_boolean(value) or is_number(value), do: {:ok, to_string(value)}

  defp text(value, json) do
    with {:error, reason} <- JSON.encode(json, value),
         do: {:error, Error.protocol("the request cannot be written as JSON: #{reason}")}
  end

  defp file({path, name}, boundary) do
    # A pipe would be read for ever, and a folder has no bytes.
    case File.stat(path) do
      {:ok, %{type: :regular, size: size}} ->
        {:ok,
         [
           "--#{boundary}\r\ncontent-disposition: form-data; name=\"files\"; filename=\"#{escaped(name)}\"\r\n\r\n",
           {path, size},
           "\r\n"
         ]}

      {:ok, %{type: type}} ->
        {:error, Error.protocol("#{path} is no file but a #{type}; name files")}

      {:error, reason} ->
        {:error, Error.protocol("#{path} cannot be read: #{:file.format_error(reason)}")}
    end
  end

  defp file(path, boundary), do: file({path, Path.basename(path)}, boundary)

  # As the service reads a quoted name, which must not end its header.
  defp escaped(name), do: for(<<byte <- name>>, into: "", do: escaped_byte(byte))
  defp escaped_byte(byte) when byte in [?", ?\\], do: <<?\\, byte>>
  defp escaped_byte(byte) when byte in [?\r, ?\n], do: "%" <> Base.encode16(<<byte>>)
  defp escaped_byte(byte), do: <<byte>>

  defp bytes({_path, size}), do: size
  defp bytes(text), do: byte_size(text)

  defp each(all, make) do
    Enum.reduce_while(all, {:ok, []}, fn one, {:ok, made} ->
      case make.(one) do
        {:ok, more} -> {:cont, {:ok, made ++ [more]}}
        {:error, error} -> {:halt, {:error, error}}
      end
    end)
  end

  defp all(parts, fun), do: Enum.reduce_while(parts, :ok, fn part, :ok -> go_on(fun.(part)) end)
  defp go_on(:ok), do: {:cont, :ok}
  defp go_on(error), do: {:halt, error}
end
