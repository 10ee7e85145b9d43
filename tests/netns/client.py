# What programs in a sandbox have at hand: TCP, UDP, and packets of their own making.
import errno, os, random, socket, struct, time


def family(host):
    return socket.AF_INET6 if ':' in host else socket.AF_INET


def name(error):
    return errno.errorcode.get(error.errno, 'timeout') if error.errno else 'timeout'


def tcp(host, port, data=b'\0\1opaque', wait=10):
    """What the other side says to this before it ends: its bytes, or the name of the error."""
    with socket.socket(family(host)) as s:
        s.settimeout(wait)
        try:
            s.connect((host, port))
            s.sendall(data)
            return s.recv(4096).split(b'\r\n')[0].decode('latin-1') or 'end'
        except OSError as error:
            return name(error)


def udp(host, port, data=b'hello', wait=10):
    """The same for one datagram."""
    with socket.socket(family(host), socket.SOCK_DGRAM) as s:
        s.settimeout(wait)
        try:
            s.connect((host, port))
            s.send(data)
            return s.recv(4096).decode('latin-1')
        except OSError as error:
            return name(error)


def checksum(data):
    data += b'\0' * (len(data) % 2)
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def pseudo(source, to, protocol, length):
    f = family(to)
    addresses = socket.inet_pton(f, source) + socket.inet_pton(f, to)
    return addresses + (struct.pack('!IxxxB', length, protocol) if f == socket.AF_INET6 else struct.pack('!xBH', protocol, length))


def udp_from(source, port, to, to_port, data):
    head = struct.pack('!HHHH', port, to_port, 8 + len(data), 0)
    total = checksum(pseudo(source, to, 17, 8 + len(data)) + head + data) or 0xffff
    return head[:6] + struct.pack('!H', total) + data


def syn_from(source, port, to, to_port, flags=2, data=b''):
    head = struct.pack('!HHIIBBHHH', port, to_port, 1000, 0, 5 << 4, flags, 65535, 0, 0)
    total = checksum(pseudo(source, to, 6, len(head) + len(data)) + head + data)
    return head[:16] + struct.pack('!H', total) + head[18:] + data


def packet(source, to, protocol, payload, fragment=None):
    """A whole packet, or one fragment (identity, offset in bytes, more) of one, with any source."""
    identity, offset, more = fragment or (random.getrandbits(16), 0, False)
    f = family(to)
    addresses = socket.inet_pton(f, source) + socket.inet_pton(f, to)
    if f == socket.AF_INET:
        place = offset // 8 | (0x2000 if more else 0)
        return struct.pack('!BBHHHBBH', 0x45, 0, 20 + len(payload), identity & 0xffff, place, 64, protocol, 0) + addresses + payload
    if fragment:
        payload = struct.pack('!BBHI', protocol, 0, offset | more, identity) + payload
        protocol = 44
    return struct.pack('!IHBB', 6 << 28, len(payload), protocol, 64) + addresses + payload


RAW = {}


def send_raw(to, made):
    f = family(to)
    if f not in RAW:
        RAW[f] = socket.socket(f, socket.SOCK_RAW, socket.IPPROTO_RAW)
        if f == socket.AF_INET6:
            RAW[f].setsockopt(socket.IPPROTO_IPV6, 36, 1)  # IPV6_HDRINCL
    RAW[f].sendto(made, (to, 0))


def query(of, kind=1):
    labels = b''.join(bytes([len(l)]) + l.encode() for l in of.split('.'))
    return struct.pack('!HHHHHH', 7, 0x100, 1, 0, 0, 0) + labels + b'\0' + struct.pack('!HH', kind, 1)


