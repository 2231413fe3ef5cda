#include <cstdio>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

int main() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(81);
    int socket_ = socket(AF_INET, SOCK_STREAM, 0);
    int result = bind(socket_, reinterpret_cast<sockaddr *>(&address), sizeof address);
    std::printf("uid %d bind %d\n", getuid(), result);
    return result ? 1 : 0;
}
