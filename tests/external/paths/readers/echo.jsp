<%@page contentType="text/plain; charset=iso-8859-1"%><%!
static String escape(String text) throws java.io.IOException {
    StringBuilder out = new StringBuilder();
    for (byte b : text.getBytes("UTF-8")) {
        char c = (char) (b & 0xff);
        if (c < 128 && (Character.isLetterOrDigit(c) || "/._~!$&'()*+,;=:@-".indexOf(c) >= 0)) out.append(c);
        else out.append(String.format("%%%02X", b));
    }
    return out.toString();
}
%><%= "tomcat\t" + escape(request.getServletPath() + (request.getPathInfo() == null ? "" : request.getPathInfo())) + "\n" %>
